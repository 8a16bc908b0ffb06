//! Sockets: what the kernel knows of them, and messages that carry descriptors.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;

use tokio::io::unix::AsyncFd;

use super::check;
use crate::limits::CLIENTS_MAX;
use crate::limits::DESCRIPTORS_MAX;

/// `SO_ORIGINAL_DST`: where a redirected connection was going.
const ORIGINAL_DESTINATION: libc::c_int = 80;
/// Room for the control message of [`DESCRIPTORS_MAX`] descriptors, aligned as the kernel wants it.
type ControlBuffer = [u64; 2 + DESCRIPTORS_MAX.div_ceil(2)];

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small structure")
}

/// Reads an option of a socket into a structure for which all bits zero is a value.
///
/// # Safety
/// `T` is plain data, and what the kernel writes for this option.
unsafe fn option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    let mut length = length_of::<T>();
    // SAFETY: the caller vouches for the type; the length is the one of the structure.
    unsafe {
        let mut value: T = std::mem::zeroed();
        let target = (&raw mut value).cast();
        check(libc::getsockopt(socket.as_raw_fd(), level, name, target, &raw mut length))?;
        Ok(value)
    }
}

/// Where a connection was going before it was redirected; an error when it was not.
pub(crate) fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    // SAFETY: the option fills an IPv4 address.
    let address: libc::sockaddr_in = unsafe { option(socket, libc::SOL_IP, ORIGINAL_DESTINATION)? };
    let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
    Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.sin_port))))
}

/// The user on the other end of a unix socket.
pub(crate) fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the option fills this structure.
    let peer: libc::ucred = unsafe { option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED)? };
    Ok(peer.uid)
}

/// What kind of internet socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes datagrams.
    Datagrams,
    /// Accepts connections.
    Listener,
}

/// Finds out what a descriptor is; an error when it is neither kind.
pub(crate) fn kind(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    // SAFETY: these options fill an int.
    let number = |name| unsafe { option::<libc::c_int>(socket, libc::SOL_SOCKET, name) };
    let is_internet = matches!(number(libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6);
    match number(libc::SO_TYPE)? {
        libc::SOCK_DGRAM if is_internet => Ok(Kind::Datagrams),
        libc::SOCK_STREAM if is_internet && number(libc::SO_ACCEPTCONN)? == 1 => Ok(Kind::Listener),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither datagrams nor a listener")),
    }
}

/// Makes reads and writes return at once.
pub(crate) fn unblock(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let fd = descriptor.as_raw_fd();
    // SAFETY: changes only flags of an open descriptor.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Lets the runtime tell when a descriptor is ready. Must be called inside a runtime.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, until it is dropped, which the runtime's part is before it.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// The next waiting connection of a listening socket, ready for use without waiting.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    let fd = check(unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) })?;
    // SAFETY: the kernel has just returned it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new socket of whole messages, and the address of a file at most 107 bytes long.
fn message_socket(path: &str) -> io::Result<(OwnedFd, libc::sockaddr_un)> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers; all bits zero is a valid address.
    let (fd, mut address) =
        unsafe { (check(libc::socket(libc::AF_UNIX, kind, 0))?, std::mem::zeroed::<libc::sockaddr_un>()) };
    // SAFETY: the kernel has just returned it, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).expect("a small number");
    if path.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.as_bytes()) {
        *to = from.cast_signed();
    }
    Ok((socket, address))
}

/// Connects to a socket of whole messages by the path of its file.
pub(crate) fn connect(path: &str) -> io::Result<OwnedFd> {
    let (socket, address) = message_socket(path)?;
    let length = length_of::<libc::sockaddr_un>();
    // SAFETY: the address is whole, with a NUL at the end of its path.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// Makes a socket of whole messages that listens on the path of a new file.
pub(crate) fn listen(path: &str) -> io::Result<OwnedFd> {
    let (socket, address) = message_socket(path)?;
    let length = length_of::<libc::sockaddr_un>();
    // SAFETY: the address is whole, with a NUL at the end of its path.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    let waiting = libc::c_int::try_from(CLIENTS_MAX).unwrap_or(libc::c_int::MAX);
    // SAFETY: plain numbers.
    check(unsafe { libc::listen(socket.as_raw_fd(), waiting) })?;
    Ok(socket)
}

/// Sends one message without waiting.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
    if attached.len() > DESCRIPTORS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control: ControlBuffer = [0; 2 + DESCRIPTORS_MAX.div_ceil(2)];
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !attached.is_empty() {
        let size = u32::try_from(size_of_val(attached)).map_err(io::Error::other)?;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the buffer has room for the header and all descriptors, and is aligned for the header.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            let data = libc::CMSG_DATA(header);
            for (place, fd) in attached.iter().enumerate() {
                let number = fd.as_raw_fd().to_ne_bytes();
                ptr::copy_nonoverlapping(number.as_ptr(), data.add(place * number.len()), number.len());
            }
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
    let mut control: ControlBuffer = [0; 2 + DESCRIPTORS_MAX.div_ceil(2)];
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
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer; the macros stay inside the length that it set.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(header), bytes);
                let (numbers, _) = data.as_chunks::<{ size_of::<RawFd>() }>();
                fds.extend(numbers.iter().map(|number| OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number))));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was longer than is allowed"));
    }
    Ok((length, fds))
}
