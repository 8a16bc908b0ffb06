//! Assembling the new root while the host's tree is visible, and changing to it.
//!
//! Nothing under the session's own `upper` is resolved by path here: the overlay is mounted, not looked into.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::mount::MountFlags;

use super::Bind;
use super::Spec;
use super::c_path;
use super::error::Error;
use super::error::Step;
use super::overlay;
use super::sys;
use super::sys::ATTRIBUTE_NO_DEV;
use super::sys::ATTRIBUTE_NO_EXEC;
use super::sys::ATTRIBUTE_NO_SUID;
use super::sys::ATTRIBUTE_READ_ONLY;

/// Device nodes that a sandbox has, copied from the host's by mount.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Files that tell about the host; `/dev/null` is mounted over each that exists.
pub const MASKED_FILES: [&CStr; 9] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/key-users",
    c"/proc/timer_list",
    c"/proc/sched_debug",
    c"/proc/latency_stats",
    c"/proc/kallsyms",
    c"/proc/config.gz",
    c"/proc/cmdline",
];

/// Mounts taken from the host, not attached anywhere yet.
pub(super) struct Captured {
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
    pub(super) masks: Vec<(&'static CStr, OwnedFd)>,
    /// Folders with their places, parents first.
    pub(super) trees: Vec<(PathBuf, OwnedFd)>,
    pub(super) processes: OwnedFd,
    pub(super) system: OwnedFd,
}

/// Mounts the session's root on the stage and captures everything else that the sandbox will show.
pub(super) fn assemble(spec: &Spec, owners: Option<BorrowedFd<'_>>) -> Result<Captured, Error> {
    sys::make_mounts_private().step("make mounts private")?;
    let mut captured = capture(spec, owners)?;
    let shut = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Only folders are made on it, to be mounted on.
    let options = c"mode=755,size=64k,nr_inodes=4096";
    sys::mount(c"tmpfs", &c_path(&spec.stage)?, c"tmpfs", shut, options).step("mount the stage")?;
    std::env::set_current_dir(&spec.stage).step("enter the stage")?;
    captured.trees.extend(overlay::mount_all(spec, owners)?);
    Ok(captured)
}

fn capture(spec: &Spec, owners: Option<BorrowedFd<'_>>) -> Result<Captured, Error> {
    let mut devices = Vec::with_capacity(DEVICES.len());
    for name in DEVICES {
        let path = PathBuf::from("/dev").join(name);
        devices.push((name, sys::clone_mount(&c_path(&path)?, false).step("capture a device")?));
    }
    let mut masks = Vec::with_capacity(MASKED_FILES.len());
    for file in MASKED_FILES {
        masks.push((file, sys::clone_mount(c"/dev/null", false).step("capture /dev/null")?));
    }
    let mut trees = Vec::with_capacity(spec.binds.len() + spec.overlays.len());
    for bind in &spec.binds {
        trees.push((bind.target.clone(), capture_bind(bind, owners)?));
    }
    let quiet = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV | ATTRIBUTE_NO_EXEC;
    // Both need a host instance in sight to be mounted by an unprivileged user.
    let processes = sys::new_filesystem(c"proc", quiet).step("mount proc")?;
    let system = sys::new_filesystem(c"sysfs", quiet | ATTRIBUTE_READ_ONLY).step("mount sysfs")?;
    Ok(Captured { devices, masks, trees, processes, system })
}

fn capture_bind(bind: &Bind, owners: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let mut attributes = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV;
    if !bind.is_writable {
        attributes |= ATTRIBUTE_READ_ONLY;
    }
    let tree = sys::clone_mount(&c_path(&bind.source)?, true).step("capture a folder of the host")?;
    match sys::set_mount_attributes(tree.as_fd(), attributes, owners, true) {
        Ok(()) => Ok(tree),
        Err(_) if bind.may_be_unmapped && owners.is_some() => {
            sys::set_mount_attributes(tree.as_fd(), attributes, None, true)
                .step("restrict a folder of the host")?;
            Ok(tree)
        }
        Err(error) => Err(error).step("map the owners of a folder of the host"),
    }
}

/// Makes the overlay the root and lets the host's tree go. The caller is on the stage.
pub(super) fn pivot() -> Result<(), Error> {
    std::env::set_current_dir("root").step("enter the new root")?;
    sys::pivot_here().step("change the root")?;
    sys::detach(c".").step("let the host's tree go")?;
    std::env::set_current_dir("/").step("enter the new root")
}
