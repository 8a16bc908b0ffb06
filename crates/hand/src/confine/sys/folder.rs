//! Folders that are reached through an open one, never by a path that somebody could divert.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use super::check;
use super::owned;

/// The argument of `openat2`.
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_MAGIC_LINKS: u64 = 2;
const RESOLVE_NO_LINKS: u64 = 4;
const RESOLVE_BENEATH: u64 = 8;

/// Opens the folder at `path`.
pub fn open(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated path and flags.
    owned(unsafe { libc::open(path.as_ptr(), flags) }.into())
}

/// Opens the folder at a relative path below `folder`, none of whose components is a link.
pub fn open_below(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let how = How {
        flags: u64::from(flags.cast_unsigned()),
        mode: 0,
        resolve: RESOLVE_BENEATH | RESOLVE_NO_LINKS | RESOLVE_NO_MAGIC_LINKS,
    };
    // SAFETY: an open descriptor, a NUL-terminated path, and the structure that the kernel expects with its size.
    owned(unsafe {
        libc::syscall(libc::SYS_openat2, folder.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<How>())
    })
}

/// Makes a folder with exactly these permissions, if the mask of this process lets them through.
pub fn make(folder: BorrowedFd<'_>, name: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: an open descriptor, a NUL-terminated name, and a plain number.
    check(unsafe { libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), mode) }.into()).map(drop)
}

/// Removes what is not a folder.
pub fn remove_file(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: an open descriptor, a NUL-terminated name, and no flags.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) }.into()).map(drop)
}

/// Removes an empty folder.
pub fn remove_folder(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: an open descriptor, a NUL-terminated name, and a flag.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) }.into()).map(drop)
}

/// Gives an open file a name. It may be one that was made without any.
pub fn link(file: BorrowedFd<'_>, folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(io::Error::other)?;
    let (to, follow) = (folder.as_raw_fd(), libc::AT_SYMLINK_FOLLOW);
    // SAFETY: NUL-terminated names, an open descriptor, and a flag.
    check(unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), to, name.as_ptr(), follow) }.into()).map(drop)
}

/// Moves what has a name in one folder to a name in another, in the place of what has that name.
pub fn rename(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, new_name: &CStr) -> io::Result<()> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: open descriptors and NUL-terminated names.
    check(unsafe { libc::renameat(from, name.as_ptr(), to, new_name.as_ptr()) }.into()).map(drop)
}
