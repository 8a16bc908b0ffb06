//! What is mounted on this host.

use std::path::Path;
use std::path::PathBuf;

/// A mounted file system.
pub(super) struct Mount {
    pub(super) place: PathBuf,
    pub(super) kind: String,
    pub(super) options: String,
}

/// Everything that is mounted, in the order of mounting.
pub(super) fn all() -> Vec<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let read = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let place = before.split(' ').nth(4)?.into();
        Some(Mount { place, kind: after.next()?.to_owned(), options: after.nth(1)?.to_owned() })
    };
    table.lines().filter_map(read).collect()
}

/// Kind and options of the file system that a folder is on.
pub(super) fn file_system(folder: &Path) -> (String, String) {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let under = all().into_iter().filter(|mount| folder.starts_with(&mount.place));
    let nearest = under.max_by_key(|mount| mount.place.components().count());
    nearest.map_or_else(|| ("unknown".to_owned(), String::new()), |mount| (mount.kind, mount.options))
}
