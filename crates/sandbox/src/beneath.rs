//! Files in a folder whose content somebody else may change at any moment: nothing that lies in it can lead out of it.
//!
//! Every step goes through an open folder and by one name, and no link is followed. A file gets its name when it is whole.

use std::ffi::CString;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hand::confine::folder;

use crate::given::FILE_BYTES_MAX;
use crate::given::FilePath;

/// Beside each folder, where nobody inside looks: what a file is called for the moment before it is in its place.
const NEW: &str = "new";
const FOLDER_MODE: u32 = 0o755;

/// A file without a name, on the file system of a folder.
pub(crate) fn nameless(in_: &Path) -> io::Result<File> {
    File::options().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(in_)
}

/// Gives a nameless file its name, in the place of what has it.
pub(crate) fn put(top: &Path, path: &FilePath, file: &File, mode: u32) -> io::Result<()> {
    let found = file.metadata()?;
    let top_folder = open(top)?;
    let top_found = File::from(top_folder.try_clone()?).metadata()?;
    if !found.is_file() || found.dev() != top_found.dev() || found.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("what was written is no file of this folder, or too large"));
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    let (parents, name) = parts(path)?;
    let parent = make_folders(top_folder, &parents)?;
    let beside = top.parent().ok_or(io::ErrorKind::NotFound)?;
    let (beside, new) = (open(beside)?, c_name(NEW)?);
    fine_without(folder::remove_file(beside.as_fd(), &new))?;
    folder::link(file.as_fd(), beside.as_fd(), &new)?;
    let placed = folder::rename(beside.as_fd(), &new, parent.as_fd(), &name);
    // Moving a file onto another name of the same file leaves both.
    fine_without(folder::remove_file(beside.as_fd(), &new))?;
    placed
}

/// Removes a file. Fine when it is not there. Folders on the way to it that are empty then go too, if wanted.
pub(crate) fn remove(top: &Path, path: &FilePath, prunes: bool) -> io::Result<()> {
    let (parents, name) = parts(path)?;
    let mut way = vec![open(top)?];
    for parent in &parents {
        let Some(last) = way.last() else { break };
        match folder::open_below(last.as_fd(), parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => way.push(other?),
        }
    }
    let Some(last) = way.last() else { return Ok(()) };
    fine_without(folder::remove_file(last.as_fd(), &name))?;
    if prunes {
        for (above, parent) in way.iter().zip(&parents).rev() {
            if folder::remove_folder(above.as_fd(), parent).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Makes the folders on a relative way.
pub(crate) fn make_way(top: &Path, way: &str) -> io::Result<()> {
    let names: Vec<CString> = way.split('/').map(c_name).collect::<io::Result<_>>()?;
    make_folders(open(top)?, &names).map(drop)
}

fn make_folders(top: OwnedFd, names: &[CString]) -> io::Result<OwnedFd> {
    let mut place = top;
    for name in names {
        place = match folder::open_below(place.as_fd(), name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match folder::make(place.as_fd(), name, FOLDER_MODE) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    Ok(()) | Err(_) => folder::open_below(place.as_fd(), name)?,
                }
            }
            other => other?,
        };
    }
    Ok(place)
}

fn parts(path: &FilePath) -> io::Result<(Vec<CString>, CString)> {
    let mut names: Vec<CString> = path.as_str().split('/').map(c_name).collect::<io::Result<_>>()?;
    let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((names, name))
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    folder::open(&CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?)
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::other)
}

fn fine_without(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
