//! System calls on file systems: what they are, what they have left, mounts; and in a file each the controls of project
//! quotas, btrfs and loop devices. The numbers of the controls are part of the kernel's interface and never change.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

pub(super) mod btrfs;
pub(super) mod device;
pub(super) mod project;

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Marks of file systems.
pub(super) const EXT4: i64 = 0xef53;
pub(super) const XFS: i64 = 0x5846_5342;
pub(super) const BTRFS: i64 = 0x9123_683e;
pub(in crate::spawner) const TMPFS: i64 = 0x0102_1994;

/// What a file system has and has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spawner) struct Space {
    pub(in crate::spawner) bytes: u64,
    /// Without what is reserved for root.
    pub(in crate::spawner) bytes_free: u64,
    pub(in crate::spawner) files: u64,
    pub(in crate::spawner) files_free: u64,
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// The mark of the file system that a path is on.
#[expect(clippy::useless_conversion, reason = "the width differs between architectures")]
pub(in crate::spawner) fn kind(path: &Path) -> io::Result<i64> {
    let path = c_string(path)?;
    // SAFETY: all bits zero is a valid value of this plain structure; the call takes a string that ends, and fills it.
    let found = unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        check(libc::statfs(path.as_ptr(), &raw mut found).into())?;
        found
    };
    Ok(i64::from(found.f_type))
}

/// What the file system of a path has left.
#[expect(clippy::useless_conversion, reason = "the width differs between architectures")]
pub(in crate::spawner) fn space(path: &Path) -> io::Result<Space> {
    let path = c_string(path)?;
    // SAFETY: all bits zero is a valid value of this plain structure; the call takes a string that ends, and fills it.
    let found = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        check(libc::statvfs(path.as_ptr(), &raw mut found).into())?;
        found
    };
    let unit = u64::from(found.f_frsize);
    Ok(Space {
        bytes: u64::from(found.f_blocks) * unit,
        bytes_free: u64::from(found.f_bavail) * unit,
        files: found.f_files.into(),
        files_free: found.f_favail.into(),
    })
}

/// Opens a folder, never through a link.
pub(in crate::spawner) fn open_folder(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Gives this process a mount namespace of its own: it sees what the host mounts, the host does not see what it mounts,
/// and everything that it has mounted goes away with it.
pub(super) fn leave_mounts() -> io::Result<()> {
    let (none, flags) = (c"none".as_ptr(), libc::MS_REC | libc::MS_SLAVE);
    // SAFETY: flags; static strings; type and data are not used.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS).into())?;
        check(libc::mount(none, c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()).into())?;
    }
    Ok(())
}

/// Mounts a file system without set-user-id programs and devices.
pub(super) fn mount(source: &Path, place: &Path, kind: &CStr, options: &str) -> io::Result<()> {
    let (source, place, options) = (c_string(source)?, c_string(place)?, CString::new(options)?);
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOATIME;
    // SAFETY: strings that end.
    check(unsafe {
        libc::mount(source.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()).into()
    })
    .map(drop)
}

/// Takes a mount away from where it is; it is gone once nobody uses it.
pub(super) fn unmount(place: &Path) -> io::Result<()> {
    let place = c_string(place)?;
    // SAFETY: a string that ends, and flags.
    check(unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW).into() }).map(drop)
}

/// Becomes an unprivileged user for good.
pub(super) fn give_up_privilege() -> io::Result<()> {
    const NOBODY: u32 = 65534;
    // SAFETY: plain numbers. The effective capabilities go with the user.
    check(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY).into() }).map(drop)
}

/// Where a file has content, from an offset on: begin and end. `None` when only a hole is left.
pub(super) fn next_content(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |offset: i64, what: i32| {
        // SAFETY: an open descriptor and numbers.
        check(unsafe { libc::lseek(file.as_raw_fd(), offset, what) })
    };
    let begin = match seek(i64::try_from(from).map_err(io::Error::other)?, libc::SEEK_DATA) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        other => other?,
    };
    let end = seek(begin, libc::SEEK_HOLE)?;
    Ok(Some((begin.cast_unsigned(), end.cast_unsigned())))
}

const WRITE: u64 = 1;
const READ: u64 = 2;

const fn control(direction: u64, kind: u8, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | (kind as u64) << 8 | number
}

/// # Safety
/// The argument must be what the control takes.
unsafe fn ioctl<T>(file: &File, request: u64, argument: *mut T) -> io::Result<i64> {
    #[expect(clippy::useless_conversion, reason = "the type differs between C libraries")]
    let request = request.try_into().map_err(io::Error::other)?;
    // SAFETY: the caller vouches for the argument.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, argument).into() })
}
