//! The three calls of Landlock.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use super::check;
use super::owned;

/// Rights that a domain takes away unless a rule gives them back, and what it keeps inside. Older kernels take this
/// structure as long as what they do not know is zero.
#[repr(C)]
pub(crate) struct Rules {
    pub(crate) files: u64,
    pub(crate) network: u64,
    pub(crate) scopes: u64,
}

#[repr(C, packed)]
struct Below {
    rights: u64,
    folder: RawFd,
}

/// Makes rules, to be added to.
pub(crate) fn create(rules: &Rules) -> io::Result<OwnedFd> {
    let rules: *const Rules = rules;
    // SAFETY: the structure that the kernel expects, its size, and no flags.
    owned(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, rules, size_of::<Rules>(), 0u32) })
}

/// Gives rights back on everything below a folder.
pub(crate) fn allow_below(rules: BorrowedFd<'_>, folder: BorrowedFd<'_>, rights: u64) -> io::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    let rule = Below { rights, folder: folder.as_raw_fd() };
    let (rules, rule) = (rules.as_raw_fd(), &raw const rule);
    // SAFETY: an open descriptor, the structure for this kind of rule, and no flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, PATH_BENEATH, rule, 0u32) }).map(drop)
}

/// Puts this process and all that it starts under the rules.
pub(crate) fn restrict(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor and no flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0u32) }).map(drop)
}
