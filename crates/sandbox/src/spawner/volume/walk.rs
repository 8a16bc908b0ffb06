//! Measuring what a tree of files takes.
//!
//! The tree is hostile and changes meanwhile: any depth, any names, folders without permissions. No link is followed, a
//! bounded number of descriptors is held, and what cannot be looked at is left out. Sizes are those of the blocks on disk:
//! a file with holes counts for what it has, a file with several names counts once.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::fs::Metadata;
use std::fs::ReadDir;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use super::sys;

/// Levels that are held open at once, with two descriptors each.
const LEVELS_MAX: usize = 200;
/// Folders at the lowest of these levels that are come back to; a tree with more counts as one of too many files.
const DEEP_MAX: usize = 1000;
/// Files with several names that are told apart.
const LINKED_MAX: usize = 1_000_000;
const BLOCK_BYTES: u64 = 512;

/// What files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spawner) struct Measure {
    pub(in crate::spawner) bytes: u64,
    /// Files, folders, links and whatever else has a name.
    pub(in crate::spawner) files: u64,
}

#[derive(Default)]
struct Walk {
    measure: Measure,
    linked: HashSet<(u64, u64)>,
    /// Folders that are too deep to be entered from where they were found, as the names on the way from the top.
    deep: Vec<Vec<OsString>>,
}

struct Level {
    folder: File,
    entries: ReadDir,
    name: OsString,
}

/// What a file, or a folder and all that is in it, takes.
pub(in crate::spawner) fn measure(path: &Path) -> io::Result<Measure> {
    let mut walk = Walk::default();
    let found = path.symlink_metadata()?;
    walk.count(&found);
    if !found.is_dir() {
        return Ok(walk.measure);
    }
    let top = sys::open_folder(path)?;
    walk.descend(enter(&top, &OsString::from("."))?, &[]);
    while let Some(names) = walk.deep.pop() {
        if let Ok(level) = reach(&top, &names) {
            walk.descend(level, &names);
        }
    }
    Ok(walk.measure)
}

impl Walk {
    fn count(&mut self, found: &Metadata) {
        let has_names = !found.is_dir() && found.nlink() > 1;
        if has_names && self.linked.len() < LINKED_MAX && !self.linked.insert((found.dev(), found.ino())) {
            return;
        }
        self.measure.files = self.measure.files.saturating_add(1);
        self.measure.bytes += found.blocks() * BLOCK_BYTES;
    }

    /// Counts everything in a folder that was reached by these names.
    fn descend(&mut self, first: Level, names: &[OsString]) {
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next() else {
                levels.pop();
                continue;
            };
            // Looked up in the open folder, so a folder that is moved meanwhile leads nowhere else.
            let Ok((entry, found)) = entry.and_then(|entry| entry.metadata().map(|found| (entry, found)))
            else {
                continue;
            };
            self.count(&found);
            if !found.is_dir() {
                continue;
            }
            if levels.len() < LEVELS_MAX {
                let entered = enter(&levels[levels.len() - 1].folder, &entry.file_name());
                levels.extend(entered);
            } else if self.deep.len() == DEEP_MAX {
                // No honest tree is as deep and as wide as this.
                self.measure.files = u64::MAX;
                return self.deep.clear();
            } else {
                let below = levels[1..].iter().map(|level| level.name.clone());
                self.deep.push(names.iter().cloned().chain(below).chain([entry.file_name()]).collect());
            }
        }
    }
}

/// Opens a folder in an open one.
fn enter(folder: &File, name: &OsString) -> io::Result<Level> {
    let folder = sys::open_folder(&through(folder).join(name))?;
    let entries = std::fs::read_dir(through(&folder))?;
    Ok(Level { folder, entries, name: name.clone() })
}

/// Goes down by these names, one at a time: the whole may be longer than a path can be.
fn reach(top: &File, names: &[OsString]) -> io::Result<Level> {
    let mut level = enter(top, &OsString::from("."))?;
    for name in names {
        level = enter(&level.folder, name)?;
    }
    Ok(level)
}

/// A path to an open folder that cannot be diverted.
fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}
