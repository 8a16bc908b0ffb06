//! What bounds the files of each session, so that none can fill the file system that all share.
//!
//! Decided once at the start, best first: project quotas, subvolumes of btrfs with quotas, and where the file system has
//! neither, a watch that looks often (see `watch`). When the operator asks for it, each session gets a file system
//! of its own instead: in an image file, or in memory. What is mounted for that is seen by the spawner and what it starts
//! alone, and is gone when they are.
//!
//! A session's folder tells how its files are kept, so folders from before another choice stay of use:
//!
//! ```text
//! upper, work     right here: bounded by a quota of the file system, or watched
//! disk.img, disk  in an image, mounted on `disk` while a sandbox runs
//! disk            in a subvolume, or in memory
//! ```

mod btrfs;
mod image;
mod probe;
mod project;
pub(super) mod sys;
pub(super) mod walk;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use super::files::make_folder;
use super::given::MOUNTS;
use super::log;
use crate::Limits;
use image::Images;
pub(crate) use probe::Foreseen;
pub(crate) use probe::bytes_free;
pub(crate) use probe::foresee;
use project::Projects;

/// The file system of a session's own, or where it is mounted.
pub(super) const DISK: &str = "disk";
/// The image of it.
pub(super) const IMAGE: &str = "disk.img";
/// Part of a sandbox's memory that its files may take when they are kept there: full files must not starve processes.
const MEMORY_DIVISOR: u64 = 2;
const MEMORY_PAGE_BYTES: u64 = 4096;

/// What the operator wants the files of sandboxes to be bounded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The best that the file system of the data folder has.
    #[default]
    Automatic,
    /// A file system in an image file for each session. Needs root.
    Loop,
    /// A file system in memory for each session, which counts as the sandbox's memory and does not outlive the spawner.
    /// Needs root.
    Memory,
    /// No quotas, even where the file system has them: the spawner looks often and ends what takes too much.
    Watched,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Automatic, Self::Loop, Self::Memory, Self::Watched];

    /// The word for it in a configuration and on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Loop => "loop",
            Self::Memory => "memory",
            Self::Watched => "watched",
        }
    }
}

/// What bounds sessions from now on.
#[derive(Debug)]
enum Bound {
    Project(Projects),
    Subvolume,
    Image,
    Memory,
    Watched,
}

/// How the files of a session are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// It has none yet.
    Nowhere,
    InPlace,
    InImage,
    InSubvolume,
    InMemory,
}

/// What a session's files take, where the file system counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// The bounds of all sessions of this spawner.
#[derive(Debug)]
pub(super) struct Volumes {
    bound: Bound,
    images: Images,
}

impl Volumes {
    /// What bounds these files, by name.
    pub(super) fn name(&self) -> &'static str {
        match self.bound {
            Bound::Project(_) => probe::PROJECT,
            Bound::Subvolume => probe::SUBVOLUME,
            Bound::Image => probe::IMAGE,
            Bound::Memory => probe::MEMORY,
            Bound::Watched => probe::WATCHED,
        }
    }

    /// What could not be had, if so.
    pub(super) fn missing(&self) -> Option<&'static str> {
        matches!(self.bound, Bound::Watched).then_some("disk quota")
    }

    /// The largest file that a sandbox may write, where only this holds it while nobody looks.
    pub(super) fn file_bytes_max(&self, limits: &Limits) -> Option<u64> {
        matches!(self.bound, Bound::Watched).then_some(limits.disk_bytes_max)
    }

    /// Bounds what is written for a session, whose folder is there, from now on; answers where `upper` and `work` are.
    ///
    /// To be called before the hand is told what it is to be: it sees what is mounted at that moment.
    pub(super) fn prepare(&mut self, folder: &Path, limits: &Limits) -> io::Result<PathBuf> {
        let disk = folder.join(DISK);
        if kept(folder) == Kept::InMemory && !is_mounted(&disk)? {
            // What was in memory has gone with a former spawner.
            std::fs::remove_dir(&disk)?;
        }
        match (kept(folder), &mut self.bound) {
            (Kept::Nowhere | Kept::InPlace, Bound::Project(projects)) => {
                projects.bound(folder, limits)?;
                return Ok(folder.to_owned());
            }
            (Kept::Nowhere, Bound::Watched) | (Kept::InPlace, _) => return Ok(folder.to_owned()),
            (Kept::Nowhere, Bound::Subvolume) => btrfs::make(folder, limits)?,
            (Kept::Nowhere, Bound::Image) => {
                self.images.make(folder, limits)?;
                image::mount(folder)?;
            }
            (Kept::Nowhere, Bound::Memory) => mount_memory(&disk, limits)?,
            (Kept::InImage, _) => image::mount(folder)?,
            (Kept::InSubvolume, _) => btrfs::bound(&disk, limits)?,
            (Kept::InMemory, _) => {}
        }
        for name in ["upper", "work", MOUNTS] {
            make_folder(&disk.join(name), 0o755)?;
        }
        Ok(disk)
    }

    /// Where the folders lie that a session writes to besides its root; `None` where that cannot be told, or reached, while
    /// its sandbox does not run.
    pub(super) fn writable(&self, folder: &Path, is_running: bool) -> Option<PathBuf> {
        match (kept(folder), &self.bound) {
            (Kept::InPlace, _) | (Kept::Nowhere, Bound::Project(_) | Bound::Watched) => {
                Some(folder.to_owned())
            }
            (Kept::InSubvolume, _) => Some(folder.join(DISK)),
            (Kept::InImage | Kept::InMemory, _) => is_running.then(|| folder.join(DISK)),
            (Kept::Nowhere, Bound::Subvolume | Bound::Image | Bound::Memory) => None,
        }
    }

    /// The sandbox of a session is over, its files stay.
    pub(super) fn rest(folder: &Path) {
        if kept(folder) == Kept::InImage {
            unmount(folder);
        }
    }

    /// The files of a session, which has no sandbox any more, are about to be moved away and removed.
    pub(super) fn release(folder: &Path) {
        match kept(folder) {
            Kept::Nowhere | Kept::InPlace => {}
            Kept::InImage | Kept::InMemory => unmount(folder),
            Kept::InSubvolume => {
                // What stays is removed file by file.
                if let Err(error) = btrfs::remove(folder) {
                    log(&format!("remove the subvolume in {}: {error}", folder.display()));
                }
            }
        }
    }

    /// What the files of a session take, where the file system counts it.
    pub(super) fn usage(&self, folder: &Path) -> io::Result<Option<Usage>> {
        match (kept(folder), &self.bound) {
            (Kept::InImage | Kept::InMemory, _) => {
                let space = sys::space(&folder.join(DISK))?;
                Ok(Some(Usage {
                    bytes: space.bytes - space.bytes_free,
                    files: space.files - space.files_free,
                }))
            }
            (Kept::InPlace | Kept::Nowhere, Bound::Project(projects)) => projects.usage(folder).map(Some),
            (Kept::InPlace | Kept::Nowhere | Kept::InSubvolume, _) => Ok(None),
        }
    }

    /// What a look at a session's files has to measure, and whether nothing else bounds them.
    pub(super) fn measured(&self, folder: &Path) -> (Vec<PathBuf>, bool) {
        let written = || vec![folder.join("upper"), folder.join(MOUNTS)];
        match (kept(folder), &self.bound) {
            (Kept::InImage, _) => (vec![folder.join(IMAGE)], false),
            (Kept::InMemory | Kept::InSubvolume, _) => (vec![folder.join(DISK)], false),
            (Kept::InPlace | Kept::Nowhere, Bound::Project(_)) => (written(), false),
            (Kept::InPlace | Kept::Nowhere, _) => (written(), true),
        }
    }
}

fn kept(folder: &Path) -> Kept {
    let disk = folder.join(DISK);
    if folder.join(IMAGE).exists() {
        return Kept::InImage;
    }
    if let Ok(found) = disk.symlink_metadata() {
        let is_subvolume = found.ino() == btrfs::TOP && sys::kind(&disk).is_ok_and(|kind| kind == sys::BTRFS);
        return if is_subvolume { Kept::InSubvolume } else { Kept::InMemory };
    }
    let is_empty = |name: &str| {
        std::fs::read_dir(folder.join(name)).map_or(true, |mut entries| entries.next().is_none())
    };
    // A sandbox leaves something in its work folder, whatever it does.
    if is_empty("upper") && is_empty("work") { Kept::Nowhere } else { Kept::InPlace }
}

/// Whether something is mounted on a folder in this one.
fn is_mounted(disk: &Path) -> io::Result<bool> {
    let Some(folder) = disk.parent() else { return Ok(false) };
    Ok(disk.symlink_metadata()?.dev() != folder.symlink_metadata()?.dev())
}

fn unmount(folder: &Path) {
    let disk = folder.join(DISK);
    let unmounted = match is_mounted(&disk) {
        Ok(true) => sys::unmount(&disk),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = unmounted {
        log(&format!("unmount {}: {error}", disk.display()));
    }
}

fn mount_memory(disk: &Path, limits: &Limits) -> io::Result<()> {
    make_folder(disk, 0o755)?;
    let bytes = limits.disk_bytes_max.min(limits.memory_bytes_max / MEMORY_DIVISOR).max(MEMORY_PAGE_BYTES);
    let options = format!("size={bytes},nr_inodes={},mode=0755", limits.disk_files_max.max(1));
    sys::mount(Path::new("none"), disk, c"tmpfs", &options)
}

#[cfg(test)]
mod tests;
