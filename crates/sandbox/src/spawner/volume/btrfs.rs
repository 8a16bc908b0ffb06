//! btrfs: every session has a subvolume, whose quota the file system enforces.
//!
//! Quotas slow a whole btrfs down, so they are used where the operator has enabled them and never enabled here. There is
//! no bound on the number of files; each takes some hundred bytes of the subvolume's quota.

use std::io;
use std::path::Path;

use super::DISK;
use super::sys;
use super::sys::btrfs;
use crate::Limits;

/// Inode of the top folder of every subvolume, and of nothing else.
pub(super) const TOP: u64 = 256;

/// Makes the subvolume of a session and bounds it.
pub(super) fn make(folder: &Path, limits: &Limits) -> io::Result<()> {
    btrfs::make_subvolume(&sys::open_folder(folder)?, DISK)?;
    let made = bound(&folder.join(DISK), limits);
    if made.is_err() {
        remove(folder)?;
    }
    made
}

/// Bounds a subvolume.
pub(super) fn bound(disk: &Path, limits: &Limits) -> io::Result<()> {
    btrfs::bound_subvolume(&sys::open_folder(disk)?, limits.disk_bytes_max)
}

/// Removes the subvolume of a session with everything in it.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let number = btrfs::subvolume(&sys::open_folder(&folder.join(DISK))?)?;
    let folder = sys::open_folder(folder)?;
    btrfs::remove_subvolume(&folder, DISK)?;
    // Newer kernels forget the quota themselves once the subvolume is really gone, and refuse until then.
    drop(btrfs::forget_subvolume(&folder, number));
    Ok(())
}

/// Makes and bounds a subvolume, to see whether that can be done.
pub(super) fn try_bound(folder: &Path) -> io::Result<()> {
    let limits = Limits::default();
    if folder.join(DISK).exists() {
        remove(folder)?;
    }
    make(folder, &limits)?;
    remove(folder)
}

/// Whether quotas are enabled on the btrfs on this host, as the kernel shows it: it lists the quota of each subvolume in
/// a folder named after the file system. With several btrfs it is enough that one has quotas.
pub(super) fn has_quotas() -> bool {
    let Ok(entries) = std::fs::read_dir("/sys/fs/btrfs") else { return false };
    entries.flatten().any(|entry| entry.path().join("qgroups").is_dir())
}
