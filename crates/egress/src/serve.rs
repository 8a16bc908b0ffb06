//! The listeners of one sandbox.

use std::io;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::proxy;
use crate::session::Session;
use crate::stub;
use crate::sys::socket;
use crate::sys::socket::Kind;

/// Serves the listeners of a sandbox: DNS over datagrams, DNS over connections, the proxy, and further listeners for
/// transparent connections. Dropping the set ends every connection. Must be called inside a runtime.
pub fn serve(session: &Arc<Session>, sockets: Vec<OwnedFd>) -> io::Result<JoinSet<()>> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "a listener is missing");
    let mut sockets = sockets.into_iter();
    let datagrams = sockets.next().ok_or_else(missing)?;
    let queries = sockets.next().ok_or_else(missing)?;
    let proxies: Vec<OwnedFd> = sockets.collect();
    if proxies.is_empty() {
        return Err(missing());
    }
    let mut tasks = JoinSet::new();
    let datagrams = tokio::net::UdpSocket::from_std(UdpSocket::from(checked(datagrams, Kind::Datagrams)?))?;
    tasks.spawn(stub::serve_datagrams(Arc::clone(session), datagrams));
    tasks.spawn(stub::serve_connections(Arc::clone(session), listener(queries)?));
    for proxy in proxies {
        tasks.spawn(proxy::serve(Arc::clone(session), listener(proxy)?));
    }
    Ok(tasks)
}

fn listener(socket: OwnedFd) -> io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(TcpListener::from(checked(socket, Kind::Listener)?))
}

/// A descriptor that has come from elsewhere is used only as what it is.
fn checked(socket: OwnedFd, wanted: Kind) -> io::Result<OwnedFd> {
    if socket::kind(socket.as_fd())? != wanted {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a listener is of another kind"));
    }
    socket::unblock(socket.as_fd())?;
    Ok(socket)
}
