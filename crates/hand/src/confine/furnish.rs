//! Everything that a root needs besides its files: devices, `/proc`, `/sys`, the session's folders, and masks over what
//! tells about the host.
//!
//! Runs after the root has changed. The tree may be hostile, so each component of a mount point is made a real folder or
//! file, and never followed.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;

use super::Spec;
use super::c_path;
use super::error::Error;
use super::error::Step;
use super::root::Captured;
use super::sys;

/// Folders that tell about the host; an empty file system is mounted over each that exists.
pub const MASKED_FOLDERS: [&CStr; 9] = [
    c"/sys/firmware",
    c"/sys/hypervisor",
    c"/sys/kernel",
    c"/sys/fs",
    c"/sys/devices/virtual/dmi",
    c"/sys/devices/virtual/powercap",
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/scsi",
];

/// Parts of `/proc` that can be looked at but not written.
const READ_ONLY: [&CStr; 5] = [c"/proc/sys", c"/proc/sysrq-trigger", c"/proc/irq", c"/proc/bus", c"/proc/fs"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Attaches what was captured and makes the rest.
pub(super) fn furnish(spec: &Spec, captured: Captured) -> Result<(), Error> {
    let Captured { devices, masks, trees, processes, system } = captured;
    real_folder(Path::new("/proc"))?;
    sys::attach(processes.as_fd(), c"/proc").step("attach /proc")?;
    // Ours alone: the network namespace is new. Lets servers inside take any port.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").step("open low ports")?;
    for (target, tree) in trees {
        real_folder(&target)?;
        sys::attach(tree.as_fd(), &c_path(&target)?).step("attach a folder of the host")?;
    }
    real_folder(Path::new("/tmp"))?;
    furnish_devices(spec, devices)?;
    real_folder(Path::new("/sys"))?;
    sys::attach(system.as_fd(), c"/sys").step("attach /sys")?;
    mask(masks)?;
    if spec.writes_names {
        write_names()?;
    }
    // The standard descriptors still lead to the host's /dev/null.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").step("open /dev/null")?;
    sys::replace_standard_descriptors(null.as_fd()).step("replace the standard descriptors")
}

fn furnish_devices(spec: &Spec, devices: Vec<(&'static str, std::os::fd::OwnedFd)>) -> Result<(), Error> {
    real_folder(Path::new("/dev"))?;
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    sys::mount(c"tmpfs", c"/dev", c"tmpfs", quiet, c"mode=755,size=64k,nr_inodes=256").step("mount /dev")?;
    for (name, tree) in devices {
        let place = PathBuf::from("/dev").join(name);
        new_file(&place, 0o666).step("make a device")?;
        sys::attach(tree.as_fd(), &c_path(&place)?).step("attach a device")?;
    }
    for (content, place) in LINKS {
        std::os::unix::fs::symlink(content, place).step("make a link in /dev")?;
    }
    make_folder(Path::new("/dev/pts"), 0o755).step("make /dev/pts")?;
    let terminals = c"newinstance,ptmxmode=0666,mode=620,max=256";
    sys::mount(c"devpts", c"/dev/pts", c"devpts", quiet, terminals).step("mount /dev/pts")?;
    make_folder(Path::new("/dev/shm"), 0o1777).step("make /dev/shm")?;
    let size = format!("mode=1777,size={},nr_inodes=65536", spec.shared_memory_bytes_max);
    let size = CString::new(size).expect("digits and letters only");
    let data = MountFlags::NOSUID | MountFlags::NODEV;
    sys::mount(c"tmpfs", c"/dev/shm", c"tmpfs", data, &size).step("mount /dev/shm")
}

fn mask(files: Vec<(&'static CStr, std::os::fd::OwnedFd)>) -> Result<(), Error> {
    let shut = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    for folder in MASKED_FOLDERS {
        if exists(folder) {
            let options = c"size=4k,nr_inodes=2,mode=000";
            sys::mount(c"tmpfs", folder, c"tmpfs", shut, options).step("mask a folder")?;
        }
    }
    for (file, null) in files {
        if exists(file) {
            sys::attach(null.as_fd(), file).step("mask a file")?;
        }
    }
    for place in READ_ONLY {
        if exists(place) {
            sys::mount(place, place, c"", MountFlags::BIND, c"").step("hold a part of /proc")?;
            let again = rustix::mount::mount_remount(place, MountFlags::BIND | shut, c"");
            again.map_err(io::Error::from).step("make a part of /proc read-only")?;
        }
    }
    Ok(())
}

/// Files that name the machine, in a root file system that somebody else made.
fn write_names() -> Result<(), Error> {
    real_folder(Path::new("/etc"))?;
    for (path, text) in super::NAMES {
        let path = Path::new("/etc").join(path);
        remove_other(&path).step("replace a file in /etc")?;
        let mut file = new_file(&path, 0o644).step("make a file in /etc")?;
        file.write_all(text.as_bytes()).step("write a file in /etc")?;
    }
    Ok(())
}

/// Whether something is mounted or made at this path of `/proc` or `/sys`, which are the kernel's.
fn exists(path: &CStr) -> bool {
    Path::new(std::ffi::OsStr::new(path.to_str().expect("our own constants are ASCII")))
        .symlink_metadata()
        .is_ok()
}

/// Makes every component of the path a real folder, replacing whatever else a former life of the session left there.
pub(super) fn real_folder(path: &Path) -> Result<(), Error> {
    let mut so_far = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir => continue,
            Component::Normal(name) => so_far.push(name),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::new("make a mount point", "its path is not plain"));
            }
        }
        let is_folder = so_far.symlink_metadata().is_ok_and(|found| found.is_dir());
        if !is_folder {
            remove_other(&so_far).step("replace a mount point")?;
            make_folder(&so_far, 0o755).step("make a mount point")?;
        }
    }
    Ok(())
}

/// Removes a file, a link or an empty folder. Fine when there is nothing.
fn remove_other(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir_all(path),
        other => other,
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    let options = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().write(true).create_new(true).custom_flags(options).mode(mode).open(path)
}
