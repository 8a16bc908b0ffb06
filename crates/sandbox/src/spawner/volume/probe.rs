//! Which bound a file system can give, by trying, and as far as can be told without changing anything.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;

use super::Bound;
use super::Choice;
use super::Volumes;
use super::btrfs;
use super::image::Images;
use super::make_folder;
use super::project::Projects;
use super::sys;
use crate::Mode;
use crate::spawner::host::Unavailable;
use crate::spawner::log;
use crate::sys::process;
use crate::sys::process::Forked;

pub(super) const PROJECT: &str = "project quota";
pub(super) const SUBVOLUME: &str = "btrfs subvolume with a quota";
pub(super) const IMAGE: &str = "file system in an image";
pub(super) const MEMORY: &str = "file system in memory";
pub(super) const WATCHED: &str = "watched";

/// What is written over a bound of half as much, to see whether it holds.
const TRIED_BYTES: u64 = 1 << 20;
static PART: [u8; 64 * 1024] = [1; 64 * 1024];

impl Volumes {
    /// Finds out what bounds the files of sessions in this data folder. `seed` tells spawners on one file system apart.
    ///
    /// As root this process gets a mount namespace of its own.
    pub(in crate::spawner) fn probe(
        data_dir: &Path,
        choice: Choice,
        mode: Mode,
        seed: u64,
    ) -> Result<Self, Unavailable> {
        let is_root = mode == Mode::Root;
        if !is_root && matches!(choice, Choice::Loop | Choice::Memory) {
            return Err(Unavailable {
                reason: format!("disk = \"{}\" needs a spawner that is root", choice.name()),
                remedy: "run the server as root, or set disk to \"automatic\"".to_owned(),
            });
        }
        let folder = data_dir.join("volumes");
        let failed = |error: io::Error| Unavailable {
            reason: format!("bound the files of sandboxes by disk = \"{}\": {error}", choice.name()),
            remedy:
                "install e2fsprogs, give the server /dev/loop-control and the loop devices, or set disk to \
                     \"automatic\""
                    .to_owned(),
        };
        let images = Images::new(folder.clone());
        let bound = match choice {
            Choice::Automatic if is_root => best(&folder, seed),
            Choice::Automatic | Choice::Watched => Bound::Watched,
            Choice::Loop => Bound::Image,
            Choice::Memory => Bound::Memory,
        };
        if is_root {
            make_folder(&folder, 0o700).and_then(|()| sys::leave_mounts()).map_err(failed)?;
        }
        if matches!(bound, Bound::Image) {
            images.check().map_err(failed)?;
        }
        Ok(Self { bound, images })
    }
}

fn best(folder: &Path, seed: u64) -> Bound {
    let tried = make_folder(folder, 0o700).and_then(|()| match sys::kind(folder)? {
        sys::EXT4 | sys::XFS => try_projects(folder, seed).map(Bound::Project),
        sys::BTRFS => btrfs::try_bound(folder).map(|()| Bound::Subvolume),
        _ => Err(io::ErrorKind::Unsupported.into()),
    });
    tried.unwrap_or_else(|error| {
        log(&format!("no quota in {}: {error}; files are watched", folder.display()));
        Bound::Watched
    })
}

/// Bounds a project and writes past the bound: quotas may be counted without being enforced.
fn try_projects(folder: &Path, seed: u64) -> io::Result<Projects> {
    let place = folder.join("probe");
    drop(std::fs::remove_dir_all(&place));
    make_folder(&place, 0o700)?;
    let tried = (|| {
        let mut projects = Projects::open(folder, seed)?;
        projects.try_bound(&place, TRIED_BYTES / 2)?;
        if writes(&place.join("file"), TRIED_BYTES)? {
            return Err(io::Error::other("the quota is counted but not enforced"));
        }
        Ok(projects)
    })();
    drop(std::fs::remove_dir_all(&place));
    tried
}

/// Whether an unprivileged process, which no quota is waived for, can write so much.
pub(super) fn writes(path: &Path, bytes: u64) -> io::Result<bool> {
    let mut file = File::create(path)?;
    match process::fork(0)? {
        Forked::Child => {
            let written = sys::give_up_privilege()
                .and_then(|()| (0..bytes / PART.len() as u64).try_for_each(|_| file.write_all(&PART)))
                .and_then(|()| file.sync_all());
            process::exit_copy(i32::from(written.is_err()))
        }
        Forked::Parent(child) => Ok(child.reap(true)? == Some(0)),
    }
}

/// What a report can tell without changing anything.
#[derive(Clone, Debug)]
pub(crate) struct Foreseen {
    /// Whether the file system itself holds the bound.
    pub(crate) is_enforced: bool,
    /// The file system and what it lacks.
    pub(crate) detail: String,
    /// How to get a bound that the file system holds.
    pub(crate) remedy: String,
}

/// What will bound sessions whose data folder is on a file system of this kind, with these mount options.
pub(crate) fn foresee(kind: &str, options: &str, is_root: bool) -> Foreseen {
    let has_projects = options.split(',').any(|option| option == "prjquota" || option == "pquota");
    let (name, lack, remedy) = match kind {
        _ if !is_root => (
            WATCHED,
            ", and this user may not set quotas",
            "run the server as root with the data folder on ext4 or xfs mounted with `prjquota`",
        ),
        "ext4" | "xfs" if has_projects => (PROJECT, "", ""),
        "ext4" => (
            WATCHED,
            " without project quota",
            "run `tune2fs -O project,quota DEVICE` on the unmounted file system and mount it with `prjquota`, or set \
             disk to \"loop\"",
        ),
        "xfs" => (
            WATCHED,
            " without project quota",
            "mount the file system with `prjquota`, or set disk to \"loop\"",
        ),
        "btrfs" if btrfs::has_quotas() => (SUBVOLUME, "", ""),
        "btrfs" => {
            (WATCHED, " without quotas", "run `btrfs quota enable` on the file system of the data folder")
        }
        _ => (
            WATCHED,
            ", which has no quotas for folders",
            "put the data folder on ext4 or xfs mounted with `prjquota`, or on btrfs with quotas, or set disk to \"loop\"",
        ),
    };
    Foreseen {
        is_enforced: name != WATCHED,
        detail: format!("{name}: the data folder is on {kind}{lack}"),
        remedy: remedy.to_owned(),
    }
}

/// What is free for the files of sandboxes.
pub(crate) fn bytes_free(data_dir: &Path) -> io::Result<u64> {
    sys::space(data_dir).map(|space| space.bytes_free)
}
