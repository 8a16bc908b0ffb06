//! `write`: a whole file, whole or not at all.
//!
//! The text goes to a new file in the same folder, which then takes the name. Where that would lose something (a second
//! name of the file, a file that is mounted by itself, a folder that may not be written to) the file is overwritten.

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;

use super::Outcome;
use super::file;
use super::input::Input;
use crate::place::Place;

/// Runs it.
pub(super) fn run(input: &mut Input<'_>, place: &Place) -> Result<Outcome, String> {
    let given = input.filled_text("file_path")?;
    let content = input.text("content")?;
    save("write", &given, &file::locate(place, &given), content.as_bytes())?;
    Ok(Outcome::text(format!("wrote {} bytes to {given}", content.len())))
}

/// Puts `content` where `path` leads, with the folders it needs.
pub(super) fn save(tool: &str, given: &str, path: &Path, content: &[u8]) -> Result<(), String> {
    let complain = |error: io::Error| file::complain(tool, given, &error);
    let target = file::follow(path).map_err(complain)?;
    let folder = target.parent().ok_or_else(|| file::irregular(tool, given))?;
    fs::create_dir_all(folder).map_err(complain)?;
    let old = match fs::symlink_metadata(&target) {
        Ok(old) if old.is_dir() => return Err(format!("{tool}: {given}: is a directory")),
        Ok(old) if !old.is_file() => return Err(file::irregular(tool, given)),
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(complain(error)),
    };
    let Some(name) = target.file_name() else { return Err(format!("{tool}: {given}: is a directory")) };
    if old.as_ref().is_some_and(|old| old.nlink() > 1) {
        return overwrite(&target, content).map_err(complain);
    }
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    new.push(format!(".{}.new", std::process::id()));
    let new = folder.join(new);
    match replace(&target, &new, content, old.as_ref()) {
        Err(error) if is_no_obstacle(&error) => overwrite(&target, content).map_err(complain),
        replaced => replaced.map_err(complain),
    }
}

/// Errors of replacing that overwriting may not have.
fn is_no_obstacle(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [Kind::PermissionDenied, Kind::ResourceBusy, Kind::CrossesDevices, Kind::InvalidFilename];
    kinds.contains(&error.kind())
}

fn replace(target: &Path, new: &Path, content: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o666).open(new)?;
    let mut fill = || {
        file.write_all(content)?;
        if let Some(old) = old {
            // Only root may give a file away; then it stays ours, as it would with any editor.
            drop(fchown(&file, Some(old.uid()), Some(old.gid())));
            file.set_permissions(Permissions::clone(&old.permissions()))?;
        }
        fs::rename(new, target)
    };
    fill().inspect_err(|_| drop(fs::remove_file(new)))
}

fn overwrite(target: &Path, content: &[u8]) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file =
        File::options().write(true).create(true).truncate(true).custom_flags(flags).open(target)?;
    file.write_all(content)
}
