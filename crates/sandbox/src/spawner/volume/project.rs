//! Project quotas of ext4 and xfs: every session is a project, whose files and folders the file system counts.
//!
//! A project is taken when nothing belongs to it: so it is free again when the last file of its former session is
//! removed, whoever removes that, and nothing has to be remembered.

use std::fs::File;
use std::io;
use std::path::Path;

use super::MOUNTS;
use super::Usage;
use super::sys;
use super::sys::project;
use crate::Limits;

/// First of the projects that are ours. Operators number theirs from 1.
const FIRST: u32 = 0x4a00_0000;
const COUNT: u32 = 0x0010_0000;
/// Projects that are looked at to find a free one.
const LOOKS_MAX: u32 = 100_000;
/// How far the first projects of spawners on one file system are apart.
const STRIDE: u64 = 4096;

/// Gives projects to sessions.
#[derive(Debug)]
pub(super) struct Projects {
    on: File,
    next: u32,
}

impl Projects {
    /// The projects of the file system that a folder is on. Fails where there are none.
    pub(super) fn open(folder: &Path, seed: u64) -> io::Result<Self> {
        let on = sys::open_folder(folder)?;
        let next = u32::try_from(seed.wrapping_mul(STRIDE) % u64::from(COUNT)).map_err(io::Error::other)?;
        let mut projects = Self { on, next };
        projects.take()?;
        Ok(projects)
    }

    /// Bounds one folder by a project of its own, without a bound on the number of files.
    pub(super) fn try_bound(&mut self, place: &Path, bytes_max: u64) -> io::Result<()> {
        let taken = self.take()?;
        project::bound_project(&self.on, taken, bytes_max, 0)?;
        project::set_project(&sys::open_folder(place)?, taken)
    }

    /// Bounds what is in the folders of a session.
    pub(super) fn bound(&mut self, folder: &Path, limits: &Limits) -> io::Result<()> {
        let upper = sys::open_folder(&folder.join("upper"))?;
        let work = sys::open_folder(&folder.join("work"))?;
        let former = project::project(&upper)?;
        let project = if is_ours(former) { former } else { self.take()? };
        project::bound_project(&self.on, project, limits.disk_bytes_max, limits.disk_files_max)?;
        project::set_project(&upper, project)?;
        project::set_project(&work, project)?;
        match sys::open_folder(&folder.join(MOUNTS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            mounts => project::set_project(&mounts?, project),
        }
    }

    /// What the files of a session take.
    pub(super) fn usage(&self, folder: &Path) -> io::Result<Usage> {
        let project = project::project(&sys::open_folder(&folder.join("upper"))?)?;
        let found = project::project_quota(&self.on, project)?;
        Ok(Usage { bytes: found.bytes, files: found.files })
    }

    /// A project that nothing belongs to.
    fn take(&mut self) -> io::Result<u32> {
        for _ in 0..LOOKS_MAX {
            let candidate = FIRST + self.next % COUNT;
            self.next = (self.next + 1) % COUNT;
            let found = project::project_quota(&self.on, candidate)?;
            if found.bytes == 0 && found.files == 0 {
                return Ok(candidate);
            }
        }
        Err(io::Error::other("every project is in use"))
    }
}

fn is_ours(project: u32) -> bool {
    (FIRST..FIRST + COUNT).contains(&project)
}
