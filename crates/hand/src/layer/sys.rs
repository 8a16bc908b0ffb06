//! Calls on files relative to an open folder. None follows a link at the end of a name; those that take a path say how far
//! it can lead.

#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use libc::c_int;
use libc::c_long;

/// What openat2 resolves: nothing leads out of the root, `..` and absolute links included.
const IN_ROOT: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
/// The same, and a link anywhere in the path is an error.
const NO_LINKS: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
/// Tries of a call that gives up when anything in the tree is renamed meanwhile.
const TRIES_MAX: usize = 8;

/// When something was changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    /// Since 1970.
    pub(super) seconds: i64,
    /// Below a thousand million.
    pub(super) nanos: u32,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Pipe,
    /// The device by which an overlay says that a name was deleted.
    Whiteout,
    /// Sockets and all other devices.
    Other,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) kind: Kind,
    /// Permissions, with the three bits above them.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) bytes: u64,
    /// Bytes that it takes on the disk.
    pub(super) stored_bytes: u64,
    pub(super) has_other_names: bool,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    pub(super) modified: Time,
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn opened(result: c_long) -> io::Result<File> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Opens `name` in `folder`.
pub(super) fn open(folder: &File, name: &CStr, flags: c_int, mode: libc::mode_t) -> io::Result<File> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: a NUL-terminated string and plain numbers.
    opened(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags, mode) }.into())
}

/// Opens a folder; links in `path` are followed as if `root` were the root of everything.
pub(super) fn open_folder(root: &File, path: &CStr) -> io::Result<File> {
    open_resolved(root, path, libc::O_RDONLY | libc::O_DIRECTORY, IN_ROOT)
}

/// Opens a folder by a path without any link.
pub(super) fn open_plain_folder(root: &File, path: &CStr) -> io::Result<File> {
    open_resolved(root, path, libc::O_RDONLY | libc::O_DIRECTORY, NO_LINKS)
}

fn open_resolved(root: &File, path: &CStr, flags: c_int, resolve: u64) -> io::Result<File> {
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC | libc::O_NOCTTY).cast_unsigned());
    how.resolve = resolve;
    let mut tries = 1;
    loop {
        // SAFETY: a NUL-terminated string, and the structure that the call expects with its size.
        let result = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match opened(result) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

/// What `name` in `folder` is.
pub(super) fn status(folder: &File, name: &CStr) -> io::Result<Status> {
    status_at(folder.as_raw_fd(), name, libc::AT_SYMLINK_NOFOLLOW)
}

/// What an open file is.
pub(super) fn status_of(file: &File) -> io::Result<Status> {
    status_at(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

fn status_at(folder: RawFd, name: &CStr, flags: c_int) -> io::Result<Status> {
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated string and a structure that we own.
    check(unsafe { libc::fstatat(folder, name.as_ptr(), &raw mut found, flags) })?;
    let kind = match found.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Folder,
        libc::S_IFLNK => Kind::Link,
        libc::S_IFIFO => Kind::Pipe,
        libc::S_IFCHR if found.st_rdev == 0 => Kind::Whiteout,
        _ => Kind::Other,
    };
    Ok(Status {
        kind,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        bytes: u64::try_from(found.st_size).unwrap_or(0),
        stored_bytes: u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512),
        has_other_names: found.st_nlink > 1,
        identity: (found.st_dev, found.st_ino),
        modified: Time { seconds: found.st_mtime, nanos: u32::try_from(found.st_mtime_nsec).unwrap_or(0) },
    })
}

/// The names in a folder, each ending in NUL, one after the other, with where each begins, in order.
pub(super) fn names(folder: &File) -> io::Result<(Vec<u8>, Vec<usize>)> {
    // A descriptor of its own: reading moves the position.
    let own = open(folder, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let fd = OwnedFd::from(own).into_raw_fd();
    // SAFETY: an open folder that nobody else owns; the stream owns it from here on.
    let stream = unsafe { libc::fdopendir(fd) };
    if stream.is_null() {
        let error = io::Error::last_os_error();
        // SAFETY: the call failed, so the descriptor is still ours alone.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return Err(error);
    }
    let mut text = Vec::new();
    let mut starts = Vec::new();
    let ended = loop {
        // SAFETY: errno belongs to this thread; the stream is open; the name of an entry ends in NUL and is copied before the
        // next call.
        let name = unsafe {
            *libc::__errno_location() = 0;
            let entry = libc::readdir(stream);
            if entry.is_null() {
                break io::Error::last_os_error();
            }
            CStr::from_ptr((*entry).d_name.as_ptr())
        };
        if name != c"." && name != c".." {
            starts.push(text.len());
            text.extend_from_slice(name.to_bytes_with_nul());
        }
    };
    // SAFETY: the stream is open and not used again.
    unsafe { libc::closedir(stream) };
    if ended.raw_os_error() != Some(0) {
        return Err(ended);
    }
    starts.sort_unstable_by(|one, other| name_at(&text, *one).cmp(name_at(&text, *other)));
    Ok((text, starts))
}

/// The name that begins at `start`.
pub(super) fn name_at(text: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&text[start..]).expect("every name was added with its NUL")
}

/// Where a symbolic link leads.
pub(super) fn link_target(folder: &File, name: &CStr) -> io::Result<Vec<u8>> {
    let mut target = vec![0; usize::try_from(libc::PATH_MAX).expect("a small positive number")];
    // SAFETY: a NUL-terminated string, and a buffer with its length.
    let length = unsafe {
        libc::readlinkat(folder.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
    };
    target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(target)
}

/// Makes a folder.
pub(super) fn make_folder(folder: &File, name: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

/// Makes a named pipe.
pub(super) fn make_pipe(folder: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::mknodat(folder.as_raw_fd(), name.as_ptr(), libc::S_IFIFO | 0o600, 0) }).map(drop)
}

/// Makes the mark of a deleted name. The only device that needs no privilege.
pub(super) fn make_whiteout(folder: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::mknodat(folder.as_raw_fd(), name.as_ptr(), libc::S_IFCHR, 0) }).map(drop)
}

/// Makes a symbolic link.
pub(super) fn make_link(folder: &File, name: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: NUL-terminated strings.
    check(unsafe { libc::symlinkat(target.as_ptr(), folder.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// Gives the file `(folder, name)` a second name.
pub(super) fn make_hard_link(from: (&File, &CStr), to: (&File, &CStr)) -> io::Result<()> {
    // SAFETY: NUL-terminated strings and open descriptors.
    check(unsafe { libc::linkat(from.0.as_raw_fd(), from.1.as_ptr(), to.0.as_raw_fd(), to.1.as_ptr(), 0) })
        .map(drop)
}

/// Removes a name; of a folder only when it is empty.
pub(super) fn remove(folder: &File, name: &CStr, is_folder: bool) -> io::Result<()> {
    let flags = if is_folder { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

/// Gives `name` in `folder` an owner.
pub(super) fn set_owner(folder: &File, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::fchownat(folder.as_raw_fd(), name.as_ptr(), uid, gid, flags) }).map(drop)
}

/// Sets the permissions of an open file or folder.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode & 0o7777) }).map(drop)
}

/// Sets the permissions of a named pipe that was just made here; a link would be followed.
pub(super) fn set_pipe_mode(folder: &File, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a NUL-terminated string and plain numbers.
    check(unsafe { libc::fchmodat(folder.as_raw_fd(), name.as_ptr(), mode & 0o7777, 0) }).map(drop)
}

/// Sets when `name` in `folder` was changed last.
pub(super) fn set_time(folder: &File, name: &CStr, time: Time) -> io::Result<()> {
    times(time, |times| {
        // SAFETY: a NUL-terminated string, and an array of the two times that the call expects.
        unsafe { libc::utimensat(folder.as_raw_fd(), name.as_ptr(), times, libc::AT_SYMLINK_NOFOLLOW) }
    })
}

/// Sets when an open file or folder was changed last.
pub(super) fn set_time_of(file: &File, time: Time) -> io::Result<()> {
    // SAFETY: an array of the two times that the call expects.
    times(time, |times| unsafe { libc::futimens(file.as_raw_fd(), times) })
}

fn times(time: Time, set: impl Fn(*const libc::timespec) -> c_int) -> io::Result<()> {
    let time = libc::timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    check(set([time, time].as_ptr())).map(drop)
}

/// Names of the extended attributes of an open file or folder. None where there is no such thing.
pub(super) fn attribute_names(file: &File) -> io::Result<Vec<CString>> {
    // The most that the kernel gives.
    let mut names = vec![0_u8; 64 << 10];
    // SAFETY: a buffer with its length.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(Vec::new()) } else { Err(error) };
    };
    let name = |name: &[u8]| CString::new(name).expect("names were separated at NUL");
    Ok(names[..length].split(|byte| *byte == 0).filter(|found| !found.is_empty()).map(name).collect())
}

/// The value of an extended attribute.
pub(super) fn attribute(file: &File, name: &CStr) -> io::Result<Vec<u8>> {
    // The most that the kernel gives.
    let mut value = vec![0_u8; 64 << 10];
    // SAFETY: a NUL-terminated string, and a buffer with its length.
    let length =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

/// Sets an extended attribute.
pub(super) fn set_attribute(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: a NUL-terminated string, and a value with its length.
    check(unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
        .map(drop)
}

/// Where the next data, or the next hole, at or after `from` begins. `None`: there is no more data.
pub(super) fn seek(file: &File, from: u64, to_hole: bool) -> io::Result<Option<u64>> {
    let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
    let whence = if to_hole { libc::SEEK_HOLE } else { libc::SEEK_DATA };
    // SAFETY: plain numbers.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}
