//! System calls for meeting servers through a folder.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns a signal into something to poll.
pub(super) fn signals(signal: i32) -> io::Result<File> {
    // SAFETY: a signal set is plain data, filled by the calls below; all pointers are to live locals.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Connects to a socket file without waiting; refused when its listener is a process of this container.
pub(super) fn connect_outside(path: &str) -> io::Result<OwnedFd> {
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).expect("a small number");
    if path.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.as_bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers; the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_UNIX, flags, 0))?) };
    let length = libc::socklen_t::try_from(size_of_val(&address)).expect("a small size");
    // SAFETY: the address was filled in above and lives until the call returns.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    match peer(&socket)? {
        // Processes that this namespace does not know have no id in it.
        0 => Ok(socket),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// The process that listened.
fn peer(socket: &OwnedFd) -> io::Result<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of_val(&peer)).expect("a small size");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the structure that this option fills, and its size.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut peer).cast(), &raw mut length)
    })?;
    Ok(peer.pid)
}
