//! Files that tools open: only regular ones, and never one that could keep us waiting.

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::limits::LINKS_MAX;
use crate::place::Place;

/// Where `path` is; a relative one starts at the workspace.
pub(super) fn locate(place: &Place, path: &str) -> PathBuf {
    place.workspace.join(path)
}

/// Opens a regular file to read. Errors name `tool` and the path as it was `given`.
pub(super) fn open(tool: &str, given: &str, path: &Path) -> Result<(File, Metadata), String> {
    // Without O_NONBLOCK the opening of a named pipe waits for a writer; what it is shows only once it is open.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = match opened {
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(irregular(tool, given)),
        opened => opened.map_err(|error| complain(tool, given, &error))?,
    };
    let metadata = file.metadata().map_err(|error| complain(tool, given, &error))?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(irregular(tool, given)) }
}

/// The error for what is no regular file.
pub(super) fn irregular(tool: &str, given: &str) -> String {
    format!("{tool}: {given}: not a regular file")
}

/// The error for a failed operation on a file.
pub(super) fn complain(tool: &str, given: &str, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory",
        io::ErrorKind::NotADirectory => "not a directory",
        io::ErrorKind::IsADirectory => "is a directory",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::AlreadyExists => "file already exists",
        io::ErrorKind::StorageFull => "no space left on device",
        io::ErrorKind::QuotaExceeded => "disk quota exceeded",
        io::ErrorKind::ReadOnlyFilesystem => "read-only file system",
        io::ErrorKind::InvalidFilename => "file name too long",
        _ if error.raw_os_error() == Some(libc::ELOOP) => "too many levels of symbolic links",
        _ => return format!("{tool}: {given}: {}", error.to_string().to_lowercase()),
    };
    format!("{tool}: {given}: {reason}")
}

/// What `path` stands for once links at its end are followed, whether there is such a file or not.
pub(super) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(&path)?;
                path = path.parent().unwrap_or_else(|| Path::new("/")).join(target);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
