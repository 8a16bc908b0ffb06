//! Sockets of whole messages, to which descriptors can be attached.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::check;
use super::owned;
use crate::wire::MESSAGE_BYTES_MAX;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Most descriptors that one message carries; more are closed by the kernel.
const FDS_MAX: usize = 8;
/// Room for the control message of [`FDS_MAX`] descriptors, aligned as the kernel wants it.
type ControlBuffer = [u64; CONTROL_WORDS];
const CONTROL_WORDS: usize = 2 + FDS_MAX;

/// A pair of connected sockets that carry whole messages.
pub(crate) fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(libc::SOCK_SEQPACKET)
}

/// A pair of connected sockets that carry bytes.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(libc::SOCK_STREAM)
}

fn pair(kind: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1; 2];
    // SAFETY: the array has room for both descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    // SAFETY: the kernel has just returned both, and nobody else knows them.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    if kind == libc::SOCK_SEQPACKET {
        make_room(ours.as_fd())?;
    }
    Ok((ours, theirs))
}

/// Listens for message connections on a socket file that only its owner can reach. Never blocks in `accept`.
pub(crate) fn listen(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    match std::fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The socket file is made with these permissions; this process has one thread.
    // SAFETY: plain numbers; this call cannot fail.
    let former = unsafe { libc::umask(0o177) };
    let listener = listen_at(folder, name);
    // SAFETY: as above.
    unsafe { libc::umask(former) };
    listener
}

/// Listens for message connections on a new socket file, with the permissions that new files have. Never blocks in `accept`.
pub(crate) fn listen_at(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = message_socket(libc::SOCK_NONBLOCK)?;
    let folder = open_folder(folder)?;
    let (address, length) = address(&folder, name)?;
    // SAFETY: these take a socket and the address that was filled in just above.
    unsafe {
        check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
        check(libc::listen(socket.as_raw_fd(), BACKLOG))?;
    }
    Ok(socket)
}

/// Ends both directions of a connection, for everybody who holds it.
pub(crate) fn shut(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor and a plain number.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) }).map(drop)
}

/// Connects to a socket file.
pub(crate) fn connect(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = message_socket(libc::SOCK_NONBLOCK)?;
    let folder = open_folder(folder)?;
    let (address, length) = address(&folder, name)?;
    // SAFETY: the address was filled in just above. A connection to a local listener is made or refused at once.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// The next waiting connection and the user on its other end.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, u32)> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let nowhere: *mut libc::sockaddr = std::ptr::null_mut();
    // SAFETY: the peer's address is not asked for.
    let socket = owned(unsafe { libc::accept4(listener.as_raw_fd(), nowhere, std::ptr::null_mut(), flags) })?;
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("a small size");
    // SAFETY: the structure that this option fills, and its size.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok((socket, peer.uid))
}

fn message_socket(flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let socket =
        owned(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | flags, 0) })?;
    make_room(socket.as_fd())?;
    Ok(socket)
}

/// Lets the longest message fit. The kernel gives twice what is asked for, up to twice a bound of its own.
fn make_room(socket: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = i32::try_from(MESSAGE_BYTES_MAX).expect("less than a megabyte");
    let length = libc::socklen_t::try_from(size_of::<i32>()).expect("a small size");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
    // SAFETY: the number that this option takes, and its size.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const bytes).cast(), length) };
    check(set).map(drop)
}

fn open_folder(folder: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)
}

/// The address of `name` in an open folder. It goes through the descriptor because a whole path may well be longer than
/// the hundred bytes that an address holds.
fn address(folder: &File, name: &str) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).expect("a small number");
    let path = format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd());
    let path = OsStr::new(&path).as_bytes();
    if path.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = from.cast_signed();
    }
    let length = size_of::<libc::sa_family_t>() + path.len() + 1;
    Ok((address, libc::socklen_t::try_from(length).expect("bounded above")))
}

/// Sends one message without waiting; `WouldBlock` when the other side does not read. At most [`FDS_MAX`] descriptors go
/// with it.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(attached.len() <= FDS_MAX, "a message carries few descriptors");
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control: ControlBuffer = [0; CONTROL_WORDS];
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !attached.is_empty() {
        let numbers: Vec<RawFd> = attached.iter().map(AsRawFd::as_raw_fd).collect();
        let size = u32::try_from(size_of_val(numbers.as_slice())).expect("a small size");
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the buffer has room for the header and the descriptors, and is aligned for the header.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            let data = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(numbers.as_ptr().cast(), data, size as usize);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the message refers to buffers that live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message and what is attached to it, without waiting. No bytes mean that the other side is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control: ControlBuffer = [0; CONTROL_WORDS];
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<ControlBuffer>() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message refers to buffers that live until the call returns.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let Ok(length) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
    let fds = attached(&message);
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::other("a message was longer than is allowed"));
    }
    Ok((length, fds))
}

/// Takes ownership of every descriptor that came with a message.
fn attached(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::with_capacity(FDS_MAX);
    // SAFETY: the kernel has filled the control buffer; the macros stay inside the length that it set.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(header), bytes);
                for number in data.chunks_exact(size_of::<RawFd>()) {
                    let number = number.try_into().expect("cut to this size");
                    fds.push(OwnedFd::from_raw_fd(RawFd::from_ne_bytes(number)));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}
