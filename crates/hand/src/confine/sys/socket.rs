//! Sockets: of the kernel's network, and with descriptors attached to messages.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use super::check;
use super::owned;

/// Most descriptors that one message carries.
const ATTACHED_MAX: usize = 8;
/// Room for the control message of that many descriptors, aligned as the kernel wants it.
type ControlBuffer = [u64; 8];

/// A socket to one of the kernel's parts.
pub(crate) fn netlink(protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    owned(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) }.into())
}

/// Reads the one message that `fd` holds next, without waiting for one.
pub(crate) fn receive_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong to the same buffer.
    let result =
        unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sets how many connections may wait at a listener.
pub(crate) fn set_backlog(listener: BorrowedFd<'_>, most: libc::c_int) -> io::Result<()> {
    // SAFETY: an open descriptor and a plain number.
    check(unsafe { libc::listen(listener.as_raw_fd(), most) }.into()).map(drop)
}

/// Sends one message with descriptors attached.
pub(crate) fn send_with(socket: BorrowedFd<'_>, message: &[u8], attached: &[OwnedFd]) -> io::Result<()> {
    if attached.len() > ATTACHED_MAX {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control: ControlBuffer = [0; 8];
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if !attached.is_empty() {
        let size = u32::try_from(size_of::<RawFd>() * attached.len()).expect("a small size");
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the buffer has room for one header and the most descriptors allowed, and is aligned for the header.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size) as _;
            let entry = libc::CMSG_FIRSTHDR(&raw const header);
            (*entry).cmsg_level = libc::SOL_SOCKET;
            (*entry).cmsg_type = libc::SCM_RIGHTS;
            (*entry).cmsg_len = libc::CMSG_LEN(size) as _;
            let numbers: Vec<u8> = attached.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()).collect();
            std::ptr::copy_nonoverlapping(numbers.as_ptr(), libc::CMSG_DATA(entry), numbers.len());
        }
    }
    // SAFETY: the message refers to buffers that live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
