//! The control socket: packets between the spawner and this process, of which [`crate::protocol::control`] has the words.

use std::fmt::Display;
use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::cmsg_space;
use rustix::io::retry_on_intr;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;

use crate::confine::sys::inherited;
use crate::confine::sys::socket::send_with;
use crate::protocol::control;

/// Longest packet, in bytes.
pub const PACKET_BYTES_MAX: usize = 128 * 1024;

/// Descriptors that one packet brings; more are dropped by the kernel.
const DESCRIPTORS_MAX: usize = 8;

/// One packet.
pub(crate) struct Packet {
    /// None: the other side has gone.
    pub(crate) bytes: Vec<u8>,
    /// The last descriptor that came with it.
    pub(crate) descriptor: Option<OwnedFd>,
}

/// The socket that this process was started with.
pub fn socket() -> Option<OwnedFd> {
    inherited(control::FD)
}

/// Waits for a packet, unless the socket does not wait.
pub(crate) fn receive(control: impl AsFd) -> io::Result<Packet> {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&control, parts, &mut attached, RecvFlags::CMSG_CLOEXEC)
    })?;
    bytes.truncate(received.bytes);
    let descriptors = attached.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.last(),
        _ => None,
    });
    let descriptor = descriptors.last();
    Ok(Packet { bytes, descriptor })
}

/// Tells the spawner that this process is isolated, and hands it the listeners: nothing of them stays in here.
pub fn hand_over(control: BorrowedFd<'_>, listeners: Vec<OwnedFd>) -> io::Result<()> {
    let sent = send_with(control, &[control::READY], &listeners);
    drop(listeners);
    sent
}

/// Tells the spawner whether this process is isolated.
pub fn report(control: BorrowedFd<'_>, isolated: Result<(), &dyn Display>) -> io::Result<()> {
    let packet = match isolated {
        Ok(()) => vec![control::READY],
        Err(error) => [&[control::FAILED], error.to_string().as_bytes()].concat(),
    };
    rustix::net::send(control, &packet, SendFlags::NOSIGNAL)?;
    Ok(())
}
