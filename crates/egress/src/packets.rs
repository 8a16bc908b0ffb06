//! A socket of whole messages, for use in async code.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits::MESSAGE_BYTES_MAX;
use crate::sys::socket;

/// Answers carry a policy, which may have filled a message, and more.
const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 32 * 1024;

/// A connected or listening socket of whole messages.
#[derive(Debug)]
pub(crate) struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Takes over a socket. Must be called inside a runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        socket::unblock(socket.as_fd())?;
        Ok(Self(socket::watch(socket)?))
    }

    /// The next message and what is attached to it; `None` when the other side is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let receive = |socket: &OwnedFd| {
            let mut buffer = vec![0; ANSWER_BYTES_MAX];
            let (length, fds) = socket::receive(socket.as_fd(), &mut buffer)?;
            buffer.truncate(length);
            Ok((buffer, fds))
        };
        let (bytes, fds) = self.0.async_io(Interest::READABLE, receive).await?;
        Ok((!bytes.is_empty()).then_some((bytes, fds)))
    }

    /// Sends a message.
    pub(crate) async fn send(&self, bytes: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |socket| socket::send(socket.as_fd(), bytes, attached)).await
    }

    /// The user on the other end of a connection: the one who listened, where the other end accepted it.
    pub(crate) fn peer_user(&self) -> io::Result<u32> {
        socket::peer_user(self.0.get_ref().as_fd())
    }

    /// The next connection to a listening socket and the user on its other end.
    pub(crate) async fn accept(&self) -> io::Result<(Self, u32)> {
        let socket = self.0.async_io(Interest::READABLE, |socket| socket::accept(socket.as_fd())).await?;
        let packets = Self::new(socket)?;
        let user = packets.peer_user()?;
        Ok((packets, user))
    }
}
