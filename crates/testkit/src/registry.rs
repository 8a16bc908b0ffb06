//! A server of fixed files on loopback, and packages to serve: registries small enough for a test.

mod debian;
mod go;
mod node;
mod python;
mod ruby;
mod rust;
mod zip;

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

pub use self::debian::debian_repository;
pub use self::go::go_modules;
pub use self::node::node_registry;
pub use self::python::python_index;
pub use self::ruby::ruby_repository;
pub use self::rust::rust_registry;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a client may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A running server. It lives as long as the process.
pub struct Registry {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves `files` by their paths, which begin with a slash.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
        let address = listener.local_addr().context("read the address of a listener")?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, seen) = (files.clone(), Arc::clone(&seen));
                // A client that hangs up early is no concern of the others.
                std::thread::spawn(move || drop(answer(stream, &files, &seen)));
            }
        });
        Ok(Self { address, asked })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The paths that were asked for, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    let (status, kind, body) = match files.get(&path) {
        Some(body) if path.ends_with('/') => ("200 OK", "text/html", body.as_slice()),
        Some(body) => ("200 OK", "application/octet-stream", body.as_slice()),
        None => ("404 Not Found", "text/plain", b"there is no such file".as_slice()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    if !head.starts_with("HEAD ") {
        stream.write_all(body)?;
    }
    stream.flush()
}
