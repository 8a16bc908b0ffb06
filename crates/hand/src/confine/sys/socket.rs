//! Sockets: of the kernel's network, and with descriptors attached to messages.

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::cmsg_space;
use rustix::net::AddressFamily;
use rustix::net::Protocol;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// Most descriptors that one message carries.
const ATTACHED_MAX: usize = 8;

/// A socket to one of the kernel's parts.
pub(crate) fn netlink(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    Ok(rustix::net::socket_with(family, SocketType::RAW, flags, protocol)?)
}

/// Reads the one message that `fd` holds next, without waiting for one.
pub(crate) fn receive_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, _) = rustix::net::recv(fd, buffer, RecvFlags::DONTWAIT)?;
    Ok(length)
}

/// Sends one message with descriptors attached.
pub(crate) fn send_with(socket: BorrowedFd<'_>, message: &[u8], attached: &[OwnedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(ATTACHED_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let attached: Vec<BorrowedFd<'_>> = attached.iter().map(AsFd::as_fd).collect();
    if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&attached)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
