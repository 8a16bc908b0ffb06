//! A wall behind the others, by the kernel's Landlock, where it has one.
//!
//! Every right on files is left as it is, but for making device nodes. What counts is what comes with any such domain:
//! nobody in it can change what is mounted, whatever else lets them; debuggers do not reach out of it; and in newer
//! versions neither do signals, nor connections to abstract sockets. Only the rights that are taken away or have to be
//! given back are named to the kernel, so opening files costs nothing more.

use std::os::fd::AsFd;

use super::error::Error;
use super::error::Step;
use super::sys;
use super::sys::folder;
use super::sys::landlock;
use super::sys::landlock::Rules;

const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
/// To move and link files from one folder to another. It is denied in every domain unless it is given.
const REFER: u64 = 1 << 13;
const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
const SCOPE_SIGNALS: u64 = 2;

/// The first version whose domains can let files be moved from one folder to another.
const VERSION_OF_REFER: libc::c_long = 2;
const VERSION_OF_SCOPES: libc::c_long = 6;

/// Enters the domain, for good. Does nothing where the kernel has no Landlock, or one of which ordinary programs would
/// notice. The root must have changed.
pub(super) fn enter() -> Result<(), Error> {
    let version = sys::landlock_version().unwrap_or(0);
    if version < VERSION_OF_REFER {
        return Ok(());
    }
    let has_scopes = version >= VERSION_OF_SCOPES;
    let scopes = if has_scopes { SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS } else { 0 };
    let handled = MAKE_CHARACTER_DEVICE | MAKE_BLOCK_DEVICE | REFER;
    let rules =
        landlock::create(&Rules { files: handled, network: 0, scopes }).step("make Landlock rules")?;
    let root = folder::open(c"/").step("open the root")?;
    landlock::allow_below(rules.as_fd(), root.as_fd(), REFER).step("make a Landlock rule")?;
    landlock::restrict(rules.as_fd()).step("enter the Landlock domain")
}
