//! The data folder: made, and closed to other accounts of the host.
//!
//! Files of sessions carry the owners and set-user-id bits that code inside a sandbox gave them, checkpoints and the
//! database hold everything, and an advisory lock needs no more than a file that can be opened. So no other account may
//! enter the folder or open a file in it, whatever the umask was when they were made. Each start checks it again.

use std::fs::DirBuilder;
use std::fs::Metadata;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::fs::Mode;

/// Permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The file that every server puts into its data folder, see [`crate::node`].
pub(crate) const NODE: &str = "node";

/// Makes files of this process, and of its children, private to this account unless they say otherwise.
pub(crate) fn make_files_private() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Makes the data folder if it does not exist, and takes the permissions of other accounts from it and from what is
/// directly in it.
///
/// Fails when the folder belongs to another account, which could replace what is in it, and when it is open to others
/// and does not look like a data folder: it may be a folder that others need.
pub(crate) fn open(path: &Path) -> Result<&Path> {
    let attempt = || format!("use the data folder {}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(attempt)?;
    let found = path.metadata().with_context(attempt)?;
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        bail!(
            "use the data folder {}: it belongs to user id {owner}, and this process runs as {own}; change its owner or \
             choose another folder",
            path.display()
        );
    }
    if is_open(&found) {
        if !is_ours(path).with_context(attempt)? {
            bail!(
                "use the data folder {}: other accounts may enter it (mode {:04o}), and it holds other files; choose an \
                 empty folder, or close this one with chmod 700",
                path.display(),
                found.mode() & 0o7777
            );
        }
        tracing::warn!(
            "closing the data folder {} to other accounts: its mode was {:04o}",
            path.display(),
            found.mode() & 0o7777
        );
        close(path, &found).with_context(attempt)?;
    }
    close_entries(path).with_context(attempt)?;
    Ok(path)
}

/// The permissions of the data folder, if it exists and other accounts have any.
pub(crate) fn open_mode(path: &Path) -> Option<u32> {
    path.metadata().ok().filter(is_open).map(|found| found.mode() & 0o7777)
}

fn is_open(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

/// Whether nothing is in the folder, or a server has used it.
fn is_ours(path: &Path) -> io::Result<bool> {
    Ok(path.join(NODE).try_exists()? || path.read_dir()?.next().is_none())
}

fn close(path: &Path, found: &Metadata) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7700))
}

/// Closes what an earlier version, or an operator, left open. Links stay: they have no permissions of their own, and what
/// they lead to is not ours. What vanishes meanwhile needs no closing.
fn close_entries(path: &Path) -> io::Result<()> {
    for entry in path.read_dir()? {
        let entry = entry?;
        let closed = entry.metadata().and_then(|found| {
            let has_mode = !found.is_symlink();
            if has_mode && is_open(&found) { close(&entry.path(), &found) } else { Ok(()) }
        });
        match closed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_folder_that_was_open_is_closed_with_what_is_in_it() {
        let top = tempfile::tempdir().unwrap();
        let data = top.path().join("above/data");
        open(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        for (name, mode) in [(NODE, 0o644), ("journeyman.db", 0o666)] {
            std::fs::write(data.join(name), "").unwrap();
            std::fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(data.join("blobs")).unwrap();
        std::fs::set_permissions(data.join("blobs"), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        open(&data).unwrap();
        let modes = ["", NODE, "journeyman.db", "blobs"].map(|name| mode(&data.join(name)));
        assert_eq!(modes, [0o700, 0o600, 0o600, 0o700]);
    }

    #[test]
    fn a_folder_that_others_may_need_is_refused_and_stays_as_it_was() {
        let top = tempfile::tempdir().unwrap();
        let shared = top.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join("notes"), "").unwrap();
        std::fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        let refused = open(&shared).unwrap_err().to_string();
        assert!(refused.contains("mode 1777"), "{refused}");
        assert_eq!(mode(&shared), 0o1777);
    }
}
