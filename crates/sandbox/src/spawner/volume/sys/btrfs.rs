//! Subvolumes of btrfs and their quotas.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::fs::File;
use std::io;

use super::READ;
use super::WRITE;
use super::control;
use super::ioctl;

const BTRFS_CONTROL: u8 = 0x94;
const BTRFS_NAME_BYTES: usize = 4088;
const BTRFS_LOOKUP_NAME_BYTES: usize = 4080;

#[repr(C)]
struct VolumeName {
    fd: i64,
    name: [u8; BTRFS_NAME_BYTES],
}

fn volume_name(name: &str) -> io::Result<VolumeName> {
    let mut argument = VolumeName { fd: 0, name: [0; BTRFS_NAME_BYTES] };
    let room = argument.name.get_mut(..name.len()).filter(|room| room.len() < BTRFS_NAME_BYTES);
    room.ok_or(io::ErrorKind::InvalidFilename)?.copy_from_slice(name.as_bytes());
    Ok(argument)
}

/// Makes a subvolume in a folder of a btrfs.
pub(in crate::spawner::volume) fn make_subvolume(folder: &File, name: &str) -> io::Result<()> {
    let mut argument = volume_name(name)?;
    let request = control(WRITE, BTRFS_CONTROL, 14, size_of::<VolumeName>());
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(folder, request, &raw mut argument) }.map(drop)
}

/// Removes a subvolume and everything in it.
pub(in crate::spawner::volume) fn remove_subvolume(folder: &File, name: &str) -> io::Result<()> {
    let mut argument = volume_name(name)?;
    let request = control(WRITE, BTRFS_CONTROL, 15, size_of::<VolumeName>());
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(folder, request, &raw mut argument) }.map(drop)
}

/// The number of the subvolume that a folder is in.
pub(in crate::spawner::volume) fn subvolume(folder: &File) -> io::Result<u64> {
    #[repr(C)]
    struct Lookup {
        tree: u64,
        object: u64,
        name: [u8; BTRFS_LOOKUP_NAME_BYTES],
    }
    const TOP: u64 = 256;
    let mut argument = Lookup { tree: 0, object: TOP, name: [0; BTRFS_LOOKUP_NAME_BYTES] };
    let request = control(READ | WRITE, BTRFS_CONTROL, 18, size_of::<Lookup>());
    // SAFETY: the structure that this control takes and fills.
    unsafe { ioctl(folder, request, &raw mut argument) }?;
    Ok(argument.tree)
}

/// Bounds what the subvolume of a folder refers to. `NotConnected` when the file system keeps no quotas.
pub(in crate::spawner::volume) fn bound_subvolume(folder: &File, bytes_max: u64) -> io::Result<()> {
    #[repr(C)]
    struct Bound {
        /// 0: the group of the subvolume itself.
        group: u64,
        flags: u64,
        referenced_max: u64,
        exclusive_max: u64,
        referenced_reserved: u64,
        exclusive_reserved: u64,
    }
    const REFERENCED: u64 = 1;
    let mut argument = Bound {
        group: 0,
        flags: REFERENCED,
        referenced_max: bytes_max,
        exclusive_max: 0,
        referenced_reserved: 0,
        exclusive_reserved: 0,
    };
    let request = control(READ, BTRFS_CONTROL, 43, size_of::<Bound>());
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(folder, request, &raw mut argument) }.map(drop)
}

/// Forgets the quota of a subvolume that was removed.
pub(in crate::spawner::volume) fn forget_subvolume(on: &File, subvolume: u64) -> io::Result<()> {
    #[repr(C)]
    struct Change {
        makes: u64,
        group: u64,
    }
    let mut argument = Change { makes: 0, group: subvolume };
    let request = control(WRITE, BTRFS_CONTROL, 42, size_of::<Change>());
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(on, request, &raw mut argument) }.map(drop)
}
