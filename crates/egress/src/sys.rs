//! System calls that the standard library lacks, each as one safe function: those about [`socket`]s, and here those about
//! this process and what the system knows of addresses.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

pub(crate) mod socket;

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;

use crate::limits::ADDRESSES_MAX;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that this process was started with, and keeps it from any program started later.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number, whether or not it is open, and sets a flag.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the role's entry is the only place that takes over these numbers, each once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: nothing in this process owns one of them yet: the role's entry calls this before it opens anything.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The address in a socket address of the kernel; `None` for another family.
///
/// # Safety
/// `address` is null or points to a whole address of the family that it names.
unsafe fn to_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for the structure behind each family.
    unsafe {
        match libc::c_int::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::V4(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes())))
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

/// The addresses of all interfaces.
pub(crate) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: fills the pointer with a list that is freed below.
    check(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut addresses = Vec::new();
    let mut at = first;
    // SAFETY: the list is whole, ends in null, and is freed once.
    unsafe {
        while !at.is_null() {
            addresses.extend(to_address((*at).ifa_addr));
            at = (*at).ifa_next;
        }
        libc::freeifaddrs(first);
    }
    Ok(addresses)
}

/// Asks the system's resolver for the addresses of a name. Waits. `Ok` with nothing when there is no such name.
pub(crate) fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let name = CString::new(name)?;
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut first: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: a NUL-terminated name and pointers to live locals; the list is freed below.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut first) };
    match code {
        0 => {}
        libc::EAI_NONAME | libc::EAI_NODATA => return Ok(Vec::new()),
        libc::EAI_SYSTEM => return Err(io::Error::last_os_error()),
        code => return Err(io::Error::other(format!("the resolver says {code}"))),
    }
    let mut addresses = Vec::new();
    let mut at = first;
    // SAFETY: the list is whole, ends in null, and is freed once.
    unsafe {
        while !at.is_null() && addresses.len() < ADDRESSES_MAX {
            addresses.extend(to_address((*at).ai_addr));
            at = (*at).ai_next;
        }
        libc::freeaddrinfo(first);
    }
    addresses.dedup();
    Ok(addresses)
}

/// Becomes a user without groups, when this process may choose. There is one thread yet.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: plain numbers, and an empty list.
    unsafe {
        if libc::geteuid() != 0 {
            return Ok(());
        }
        check(libc::setgroups(0, ptr::null()))?;
        // While there still is the privilege to do so; the kernel refuses numbers that it does not know.
        for capability in 0..64 {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id))?;
    }
    Ok(())
}

/// Gives up everything that this process could still do beyond the ordinary, for good.
pub(crate) fn give_up_power() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    // Three sets for each half of the capabilities, all empty.
    let empty = [[0_u32; 3]; 2];
    let header = Header { version: VERSION_3, pid: 0 };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain numbers, and pointers to live locals of the layout that the kernel expects.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if libc::syscall(libc::SYS_capset, &raw const header, empty.as_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const none))?;
        let mut files: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files))?;
        files.rlim_cur = files.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files))?;
        libc::umask(0o077);
    }
    Ok(())
}
