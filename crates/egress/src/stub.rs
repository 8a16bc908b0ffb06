//! The DNS server of a sandbox: every name that there is gets an address that stands for it, and nothing else is told.
//!
//! In a limited session no name is looked up for a question, so that questions carry nothing out; whether the name may be
//! reached is told by the proxy, which can say why.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns;
use crate::dns::Code;
use crate::dns::Kind;
use crate::dns::Malformed;
use crate::dns::Query;
use crate::limits::LOOKUPS_MAX;
use crate::limits::QUERY_BYTES_MAX;
use crate::policy::Hostname;
use crate::resolve::ResolveError;
use crate::session::Session;

/// How long a connection may rest between questions.
const REST_MAX: Duration = Duration::from_secs(10);
/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// How long serving rests after the socket has failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers datagrams for as long as it is polled.
pub(crate) async fn serve_datagrams(session: Arc<Session>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut lookups = JoinSet::new();
    let mut buffer = vec![0; QUERY_BYTES_MAX + 1];
    loop {
        // While that many wait, further questions wait in the socket.
        while lookups.len() >= LOOKUPS_MAX {
            lookups.join_next().await;
        }
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => {
                    let message = buffer[..length].to_vec();
                    lookups.spawn(reply(Arc::clone(&session), Arc::clone(&socket), message, from));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = lookups.join_next() => {}
        }
    }
}

async fn reply(session: Arc<Session>, socket: Arc<UdpSocket>, message: Vec<u8>, from: SocketAddr) {
    if let Some(answer) = answer(&session, &message).await {
        // Whoever has lost the answer asks again.
        drop(socket.send_to(&answer, from).await);
    }
}

/// Answers on connections for as long as it is polled.
pub(crate) async fn serve_connections(session: Arc<Session>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let session = Arc::clone(&session);
                    connections.spawn(async move { drop(serve_connection(&session, stream).await) });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(session: &Session, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let read = async {
            let length = usize::from(stream.read_u16().await?);
            if length > QUERY_BYTES_MAX {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            }
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await?;
            Ok(message)
        };
        let message = timeout(REST_MAX, read).await??;
        let Some(answer) = answer(session, &message).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(REST_MAX, stream.write_all(&framed)).await??;
    }
}

/// The answer to a message; `None` for one that deserves none.
async fn answer(session: &Session, message: &[u8]) -> Option<Vec<u8>> {
    let query = match dns::parse(message) {
        Ok(query) => query,
        Err(Malformed::Silence) => return None,
        Err(Malformed::Answer { id, code }) => return Some(dns::answer_malformed(id, code)),
    };
    let (code, address) = decide(session, &query).await;
    Some(query.answer(code, address))
}

async fn decide(session: &Session, query: &Query) -> (Code, Option<Ipv4Addr>) {
    match query.kind {
        Kind::Any | Kind::Text => return (Code::Refused, None),
        Kind::A | Kind::Other => {}
    }
    let is_address = query.kind == Kind::A;
    if query.name == "localhost" || query.name.ends_with(".localhost") {
        return (Code::NoError, is_address.then_some(Ipv4Addr::LOCALHOST));
    }
    let Ok(name) = Hostname::parse(&query.name) else { return (Code::NameError, None) };
    let policy = session.policy();
    let is_routed = policy.is_routed(&name);
    if !query.name.contains('.') && !is_routed {
        return (Code::NameError, None);
    }
    if !is_address {
        return (Code::NoError, None);
    }
    if policy.is_limited() || policy.is_blocked(&name) || is_routed {
        return (Code::NoError, Some(session.fake_ip(&name)));
    }
    match session.resolved().resolve(&name).await {
        Ok(_) => (Code::NoError, Some(session.fake_ip(&name))),
        Err(ResolveError::NotFound) => (Code::NameError, None),
        Err(ResolveError::Failed(_) | ResolveError::TimedOut) => (Code::ServerFailure, None),
    }
}
