//! A whole file, whole or not at all: a new file beside the old one, which then takes its name.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::Attempt;
use super::facts;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::Metadata;
use crate::protocol::operation::WRITE_BYTES_MAX;
use crate::protocol::operation::WriteFile;

/// Bytes of a file's name that the name of the new one repeats; with the rest it stays within the 255 of a name.
const REPEATED_BYTES_MAX: usize = 200;

/// Writes it.
pub(super) fn run(request: &WriteFile, path: &Path, attempt: &Attempt<'_>) -> Result<Metadata, Failure> {
    let WriteFile { path: _, content, mode, makes_parents } = request;
    if content.len() > WRITE_BYTES_MAX {
        let reason = format!("{} bytes, over {WRITE_BYTES_MAX}", content.len());
        return Err(attempt.failure(FailureKind::Invalid, &reason));
    }
    if mode & !0o777 != 0 {
        return Err(
            attempt.failure(FailureKind::Invalid, "the mode has other bits than those of permissions")
        );
    }
    let failed = |error: io::Error| attempt.failed(&error);
    let ends_in_a_name = !matches!(path.as_os_str().as_bytes(), [.., b'/'] | [.., b'/', b'.']);
    let temporary = temporary(path, std::process::id()).filter(|_| ends_in_a_name);
    let Some(new) = temporary else {
        return Err(attempt.failure(FailureKind::WrongKind, "not the name of a file"));
    };
    if let Some(parent) = path.parent().filter(|_| *makes_parents) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    // Renaming onto a folder is refused anyway, but says less.
    if fs::symlink_metadata(path).is_ok_and(|old| old.is_dir()) {
        return Err(attempt.failure(FailureKind::WrongKind, "is a folder"));
    }
    let mut file =
        File::options().write(true).create_new(true).mode(mode & 0o700).open(&new).map_err(failed)?;
    let mut fill = || {
        file.write_all(content)?;
        // Whatever the mask of this process is.
        file.set_permissions(Permissions::from_mode(*mode))?;
        let metadata = file.metadata()?;
        fs::rename(&new, path)?;
        Ok(facts(&metadata))
    };
    fill().inspect_err(|_| drop(fs::remove_file(&new))).map_err(failed)
}

/// Where process `writer` keeps a file while it is written. `None` for what cannot be a file.
pub(crate) fn temporary(path: &Path, writer: u32) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let name = &name[..name.len().min(REPEATED_BYTES_MAX)];
    let new = [b".", name, format!(".{writer}.new").as_bytes()].concat();
    Some(path.with_file_name(OsString::from_vec(new)))
}
