//! Entering the namespaces of a sandbox, in copies of this process that do nothing else.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use super::check;
use super::owned;
use super::process;
use super::process::Pid;

/// Enters a namespace, or namespaces of a process, which are named by a descriptor.
pub(crate) fn join(of: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: an open descriptor and plain flags.
    check(unsafe { libc::setns(of.as_raw_fd(), kinds) }).map(drop)
}

/// The user namespace whose root has power over the mounts that a process sees.
pub(crate) fn owner_of_mounts(process: Pid) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    let mounts = File::open(format!("/proc/{process}/ns/mnt"))?;
    // SAFETY: an open descriptor; this request takes nothing and answers a new descriptor.
    owned(unsafe { libc::ioctl(mounts.as_raw_fd(), NS_GET_USERNS) })
}

/// Leaves the mount namespace for a copy of it, into and out of which nothing propagates.
pub(crate) fn have_own_mounts() -> io::Result<()> {
    // SAFETY: a plain flag.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    process::make_mounts_private()
}

/// Closes every descriptor but these and the standard ones. For copies that are about to exit.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    numbers.extend(0..3);
    numbers.sort_unstable();
    numbers.dedup();
    let ends = numbers.iter().skip(1).map(|number| number - 1).chain([u32::MAX]);
    for (first, last) in numbers.iter().map(|number| number + 1).zip(ends) {
        if first <= last {
            // SAFETY: in a copy that is about to exit, no owner of these descriptors uses or closes them.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })?;
        }
    }
    Ok(())
}
