//! Connecting to sockets of the host.

#![expect(
    unsafe_code,
    reason = "a system call that rustix lacks; its block says why its arguments are valid"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// Connects to a socket file without waiting; refused when its listener is a process of this container.
pub(super) fn connect_outside(path: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    match peer(&socket)? {
        // Processes that this namespace does not know have no id in it.
        0 => Ok(socket),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// The process that listened. The safe form of this call has no place for a process that is not known here.
fn peer(socket: &OwnedFd) -> io::Result<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of_val(&peer)).expect("a small size");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the structure that this option fills, and its size.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut peer).cast(), &raw mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(peer.pid) }
}
