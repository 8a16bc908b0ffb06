//! Calls on files relative to an open folder. None follows a link at the end of a name; those that take a path say how far
//! it can lead.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::SeekFrom;
use rustix::fs::Stat;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// What openat2 resolves: nothing leads out of the root, `..` and absolute links included.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// The same, and a link anywhere in the path is an error.
const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Tries of a call that gives up when anything in the tree is renamed meanwhile.
const TRIES_MAX: usize = 8;
/// The most that the kernel gives of an attribute, and of the names of all.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY);

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

/// Opens `name` in `folder`.
pub(super) fn open(folder: &File, name: &CStr, flags: OFlags, mode: u32) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | ALWAYS;
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?.into())
}

/// Opens a folder; links in `path` are followed as if `root` were the root of everything.
pub(super) fn open_folder(root: &File, path: &CStr) -> io::Result<File> {
    open_resolved(root, path, IN_ROOT)
}

/// Opens a folder by a path without any link.
pub(super) fn open_plain_folder(root: &File, path: &CStr) -> io::Result<File> {
    open_resolved(root, path, NO_LINKS)
}

fn open_resolved(root: &File, path: &CStr, resolve: ResolveFlags) -> io::Result<File> {
    let mut tries = 1;
    loop {
        match rustix::fs::openat2(root, path, FOLDER | ALWAYS, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < TRIES_MAX => tries += 1,
            result => return Ok(result?.into()),
        }
    }
}

/// What `name` in `folder` is.
pub(super) fn status(folder: &File, name: &CStr) -> io::Result<Status> {
    Ok(status_from(&rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// What an open file is.
pub(super) fn status_of(file: &File) -> io::Result<Status> {
    Ok(status_from(&rustix::fs::fstat(file)?))
}

fn status_from(found: &Stat) -> Status {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Pipe,
        FileType::CharacterDevice if found.st_rdev == 0 => Kind::Whiteout,
        _ => Kind::Other,
    };
    Status {
        kind,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        bytes: u64::try_from(found.st_size).unwrap_or(0),
        stored_bytes: u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512),
        has_other_names: found.st_nlink > 1,
        identity: (found.st_dev, found.st_ino),
        modified: Time { seconds: found.st_mtime, nanos: u32::try_from(found.st_mtime_nsec).unwrap_or(0) },
    }
}

/// The names in a folder, each ending in NUL, one after the other, with where each begins, in order.
pub(super) fn names(folder: &File) -> io::Result<(Vec<u8>, Vec<usize>)> {
    let (mut text, mut starts) = (Vec::new(), Vec::new());
    // By a descriptor of its own: reading moves the position.
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            starts.push(text.len());
            text.extend_from_slice(name.to_bytes_with_nul());
        }
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
    Ok(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
}

/// Makes a folder.
pub(super) fn make_folder(folder: &File, name: &CStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(mode))?)
}

/// Makes a named pipe.
pub(super) fn make_pipe(folder: &File, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(folder, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// Makes the mark of a deleted name. The only device that needs no privilege.
pub(super) fn make_whiteout(folder: &File, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// Makes a symbolic link.
pub(super) fn make_link(folder: &File, name: &CStr, target: &CStr) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, folder, name)?)
}

/// Gives the file `(folder, name)` a second name.
pub(super) fn make_hard_link(from: (&File, &CStr), to: (&File, &CStr)) -> io::Result<()> {
    Ok(rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?)
}

/// Removes a name; of a folder only when it is empty.
pub(super) fn remove(folder: &File, name: &CStr, is_folder: bool) -> io::Result<()> {
    let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    Ok(rustix::fs::unlinkat(folder, name, flags)?)
}

/// Gives `name` in `folder` an owner.
pub(super) fn set_owner(folder: &File, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw_unchecked(uid), Gid::from_raw_unchecked(gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(rustix::fs::chownat(folder, name, Some(uid), Some(gid), flags)?)
}

/// Sets the permissions of an open file or folder.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?)
}

/// Sets the permissions of a named pipe that was just made here; a link would be followed.
pub(super) fn set_pipe_mode(folder: &File, name: &CStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(folder, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?)
}

/// Sets when `name` in `folder` was changed last.
pub(super) fn set_time(folder: &File, name: &CStr, time: Time) -> io::Result<()> {
    Ok(rustix::fs::utimensat(folder, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets when an open file or folder was changed last.
pub(super) fn set_time_of(file: &File, time: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(time))?)
}

fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Names of the extended attributes of an open file or folder. None where there is no such thing.
pub(super) fn attribute_names(file: &File) -> io::Result<Vec<CString>> {
    let mut names = vec![0_u8; ATTRIBUTE_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let name = |name: &[u8]| CString::new(name).expect("names were separated at NUL");
    Ok(names[..length].split(|byte| *byte == 0).filter(|found| !found.is_empty()).map(name).collect())
}

/// The value of an extended attribute.
pub(super) fn attribute(file: &File, name: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; ATTRIBUTE_BYTES_MAX];
    let length = rustix::fs::fgetxattr(file, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

/// Sets an extended attribute.
pub(super) fn set_attribute(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?)
}

/// Where the next data, or the next hole, at or after `from` begins. `None`: there is no more data.
pub(super) fn seek(file: &File, from: u64, to_hole: bool) -> io::Result<Option<u64>> {
    let from = if to_hole { SeekFrom::Hole(from) } else { SeekFrom::Data(from) };
    match rustix::fs::seek(file, from) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
