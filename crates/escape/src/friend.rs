//! A host that sandboxes may reach: a listener on this machine, to which the operator's routes lead one name.
//!
//! It greets whoever says something. So no sandbox has to reach the world, and no name has to be looked up, to prove that
//! a network is open where it should be, and for that name alone.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use anyhow::Context;
use anyhow::Result;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;
use toml::Value;

/// Its name, which nobody else has.
pub(crate) const FRIEND: &str = "friend.escape.invalid";

/// The listener; it ends when this is dropped.
pub(crate) struct Friend {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Friend {
    /// Listens. It greets with these words, and whoever asks for `/redirect` is sent to a port of this machine.
    pub(crate) async fn listen(greeting: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen as a host")?;
        let address = listener.local_addr().context("read the address of a host")?;
        let stop = CancellationToken::new();
        let words = Words {
            greeting: format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{greeting}", greeting.len()),
            redirect: format!(
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
            ),
        };
        TaskTracker::new().spawn(serve(listener, words, stop.clone()));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// The operator's route that leads its name to it.
    pub(crate) fn route(&self) -> Value {
        let route = [("host", FRIEND.to_owned()), ("to", self.address.to_string())];
        Value::Table(route.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect())
    }
}

#[derive(Clone)]
struct Words {
    greeting: String,
    redirect: String,
}

async fn serve(listener: TcpListener, words: Words, stop: CancellationToken) {
    let guests = TaskTracker::new();
    let welcome = async {
        while let Ok((stream, _)) = listener.accept().await {
            guests.spawn(stop.clone().run_until_cancelled_owned(greet(stream, words.clone())));
        }
    };
    stop.run_until_cancelled(welcome).await;
}

/// Answers every request, and whatever else is said, once.
async fn greet(mut stream: TcpStream, words: Words) {
    let mut said = vec![0; 8192];
    while let Ok(count) = stream.read(&mut said).await {
        let word = if said.starts_with(b"GET /redirect") { &words.redirect } else { &words.greeting };
        if count == 0 || stream.write_all(word.as_bytes()).await.is_err() {
            return;
        }
    }
}
