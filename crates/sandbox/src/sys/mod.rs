//! System calls that the standard library lacks, each as one safe function: [`socket`] for messages that carry
//! descriptors, [`process`] for making, watching and ending processes, [`execute`] for this program
//! in another role, [`namespace`] for a look into a sandbox.

pub(crate) mod execute;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod socket;

use std::io;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use libc::c_long;

/// Whether this process may write to a file or folder.
#[expect(unsafe_code, reason = "the standard library does not ask")]
pub(crate) fn is_writable(path: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a NUL-terminated path and a plain flag.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

fn check(result: impl Into<c_long>) -> io::Result<c_long> {
    let result = result.into();
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(unsafe_code, reason = "the one place where a number becomes a descriptor")]
fn owned(result: impl Into<c_long>) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
