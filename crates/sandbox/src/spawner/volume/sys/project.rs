//! Projects of ext4 and xfs: which one a folder belongs to, and what its files may take.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::READ;
use super::WRITE;
use super::check;
use super::control;
use super::ioctl;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ExtendedFlags {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

const INHERIT_PROJECT: u32 = 0x200;

fn extended_flags(folder: &File) -> io::Result<ExtendedFlags> {
    let mut found = ExtendedFlags::default();
    // SAFETY: the structure that this control fills.
    unsafe { ioctl(folder, control(READ, b'X', 31, size_of::<ExtendedFlags>()), &raw mut found) }?;
    Ok(found)
}

/// The project that what is made in a folder belongs to; 0 for none.
pub(in crate::spawner::volume) fn project(folder: &File) -> io::Result<u32> {
    let found = extended_flags(folder)?;
    Ok(if found.flags & INHERIT_PROJECT == 0 { 0 } else { found.project })
}

/// Makes a folder, and whatever is made in it from now on, belong to a project.
pub(in crate::spawner::volume) fn set_project(folder: &File, project: u32) -> io::Result<()> {
    let found = extended_flags(folder)?;
    let mut wanted = ExtendedFlags { flags: found.flags | INHERIT_PROJECT, project, ..found };
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(folder, control(WRITE, b'X', 32, size_of::<ExtendedFlags>()), &raw mut wanted) }.map(drop)
}

/// What a project uses and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spawner::volume) struct ProjectQuota {
    pub(in crate::spawner::volume) bytes_max: u64,
    pub(in crate::spawner::volume) files_max: u64,
    pub(in crate::spawner::volume) bytes: u64,
    pub(in crate::spawner::volume) files: u64,
}

const QUOTA_UNIT_BYTES: u64 = 1024;
/// The third kind of quota, besides users and groups.
const PROJECTS: i32 = 2;

fn quota_control(on: &File, command: i32, project: u32, quota: &mut libc::dqblk) -> io::Result<()> {
    let command = command << 8 | PROJECTS;
    let fd = on.as_raw_fd();
    // SAFETY: an open descriptor, numbers, and the structure that both commands take.
    check(unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, project, std::ptr::from_mut(quota)) })
        .map(drop)
}

fn no_quota() -> libc::dqblk {
    // SAFETY: all bits zero is a valid value of this plain structure.
    unsafe { std::mem::zeroed() }
}

/// The quota of a project on the file system of an open file. All zero when nothing is known of the project.
pub(in crate::spawner::volume) fn project_quota(on: &File, project: u32) -> io::Result<ProjectQuota> {
    let mut found = no_quota();
    match quota_control(on, libc::Q_GETQUOTA, project, &mut found) {
        // XFS knows nothing of a project without files and limits.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        other => other?,
    }
    Ok(ProjectQuota {
        bytes_max: found.dqb_bhardlimit * QUOTA_UNIT_BYTES,
        files_max: found.dqb_ihardlimit,
        bytes: found.dqb_curspace,
        files: found.dqb_curinodes,
    })
}

/// Bounds a project; 0 is no bound.
pub(in crate::spawner::volume) fn bound_project(
    on: &File,
    project: u32,
    bytes_max: u64,
    files_max: u64,
) -> io::Result<()> {
    const BLOCK_LIMITS: u32 = 1;
    const FILE_LIMITS: u32 = 4;
    let mut wanted = no_quota();
    wanted.dqb_bhardlimit = bytes_max.div_ceil(QUOTA_UNIT_BYTES);
    wanted.dqb_ihardlimit = files_max;
    wanted.dqb_valid = BLOCK_LIMITS | FILE_LIMITS;
    quota_control(on, libc::Q_SETQUOTA, project, &mut wanted)
}
