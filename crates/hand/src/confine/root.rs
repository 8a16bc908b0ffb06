//! Assembling the new root while the host's tree is visible, and changing to it.
//!
//! Nothing under the session's own `upper` is resolved by path here: the overlay is mounted, not looked into.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use super::Bind;
use super::Identity;
use super::Spec;
use super::UNMAPPABLE;
use super::c_path;
use super::error::Error;
use super::error::Step;
use super::sys;
use super::sys::ATTRIBUTE_NO_DEV;
use super::sys::ATTRIBUTE_NO_EXEC;
use super::sys::ATTRIBUTE_NO_SUID;
use super::sys::ATTRIBUTE_READ_ONLY;

/// Device nodes that a sandbox has, copied from the host's by mount.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Files that tell about the host; `/dev/null` is mounted over each that exists.
const MASKED_FILES: [&CStr; 8] = [
    c"/proc/kcore",
    c"/proc/keys",
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
    pub(super) binds: Vec<(PathBuf, OwnedFd)>,
    pub(super) processes: OwnedFd,
    pub(super) system: OwnedFd,
}

/// Mounts the session's overlay on the stage and captures everything else that the sandbox will show.
pub(super) fn assemble(spec: &Spec, owners: Option<BorrowedFd<'_>>) -> Result<Captured, Error> {
    sys::mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"").step("make mounts private")?;
    let captured = capture(spec, owners)?;
    std::env::set_current_dir(&spec.stage).step("enter the stage")?;
    let hold = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV;
    for (source, place) in [(&spec.lower, c"lower"), (&spec.writable, c"rw")] {
        let tree = sys::clone_mount(&c_path(source)?, false).step("capture a layer")?;
        sys::set_mount_attributes(tree.as_fd(), hold, owners, false).step(UNMAPPABLE)?;
        sys::attach(tree.as_fd(), place).step("attach a layer")?;
    }
    if let Identity::Range { first } = spec.identity {
        // The overlay keeps the credentials of its mounter. Unless those lie in the mapped range it cannot make its work
        // folder, and comes up read-only without an error.
        sys::set_filesystem_ids(first).step("act as the sandbox's root")?;
    }
    mount_overlay(matches!(spec.identity, Identity::Entered { .. }))?;
    Ok(captured)
}

fn mount_overlay(is_unprivileged: bool) -> Result<(), Error> {
    forget_former_mount(Path::new("rw/work/work/incompat")).step("take over the session's former layer")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let options = if is_unprivileged {
        c"volatile,userxattr,lowerdir=lower,upperdir=rw/upper,workdir=rw/work"
    } else {
        c"volatile,lowerdir=lower,upperdir=rw/upper,workdir=rw/work"
    };
    sys::mount(c"overlay", c"root", c"overlay", flags, options).step("mount the overlay")?;
    if sys::is_read_only(c"root").step("look at the overlay")? {
        return Err(Error::new("mount the overlay", "it came up read-only"));
    }
    Ok(())
}

/// Removes the mark that a `volatile` overlay leaves so that nobody mounts its layer again after a crash of the machine.
/// After a crash of the sandbox alone the layer is whole. The work folder is never visible inside.
fn forget_former_mount(mark: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
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
    let mut binds = Vec::with_capacity(spec.binds.len());
    for bind in &spec.binds {
        binds.push((bind.target.clone(), capture_bind(bind, owners)?));
    }
    let quiet = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV | ATTRIBUTE_NO_EXEC;
    // Both need a host instance in sight to be mounted by an unprivileged user.
    let processes = sys::new_filesystem(c"proc", quiet).step("mount proc")?;
    let system = sys::new_filesystem(c"sysfs", quiet | ATTRIBUTE_READ_ONLY).step("mount sysfs")?;
    Ok(Captured { devices, masks, binds, processes, system })
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

/// Makes the overlay the root and lets the host's tree go.
pub(super) fn pivot(stage: &Path) -> Result<(), Error> {
    std::env::set_current_dir(stage.join("root")).step("enter the new root")?;
    sys::pivot_here().step("change the root")?;
    sys::detach(c".").step("let the host's tree go")?;
    std::env::set_current_dir("/").step("enter the new root")
}
