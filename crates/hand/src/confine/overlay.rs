//! The overlays of a sandbox: the root, and those of host folders that can be written to inside.
//!
//! Everything is named relative to the stage, a small file system of this sandbox's own: each lower folder is a mount with
//! a number for a name, so no name from outside gets into the mount options. The session's own files are hostile: folders
//! among them are reached component by component, and no link is followed.

use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;

use super::Identity;
use super::LOWERS_MAX;
use super::Overlay;
use super::Spec;
use super::UNMAPPABLE;
use super::c_path;
use super::error::Error;
use super::error::Step;
use super::sys;
use super::sys::ATTRIBUTE_NO_DEV;
use super::sys::ATTRIBUTE_NO_SUID;
use super::sys::folder;

const HOLD: u64 = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV;
/// Bounds on the folders of the host that are made anew for who could not write to them otherwise.
const MIRRORED_DEPTH_MAX: usize = 3;
const MIRRORED_MAX: usize = 256;

/// The lower folders of one overlay, attached to the stage.
struct Ground {
    overlay: Overlay,
    /// Names on the stage, the top one first.
    lowers: Vec<String>,
    /// Folders in the host's folder, parents first.
    mirrored: Vec<PathBuf>,
}

/// Mounts the root on `root` in the stage, which the caller is in, and answers the other overlays, not attached yet, with
/// the places that they are for.
pub(super) fn mount_all(
    spec: &Spec,
    owners: Option<BorrowedFd<'_>>,
) -> Result<Vec<(PathBuf, OwnedFd)>, Error> {
    if !(1..=LOWERS_MAX).contains(&spec.lowers.len()) {
        return Err(Error::new("mount the overlay", "it has no lower folders or too many"));
    }
    let mut lowers = Vec::with_capacity(spec.lowers.len());
    for (number, lower) in spec.lowers.iter().enumerate() {
        let name = number.to_string();
        let tree = sys::clone_mount(&c_path(lower)?, false).step("capture a layer")?;
        attach(&tree, owners, &name)?;
        lowers.push(name);
    }
    let tree = sys::clone_mount(&c_path(&spec.writable)?, false).step("capture a layer")?;
    attach(&tree, owners, "rw")?;
    let mut grounds = Vec::with_capacity(spec.overlays.len());
    for (number, overlay) in spec.overlays.iter().enumerate() {
        grounds.extend(ground(spec, overlay, number, owners)?);
    }
    std::fs::create_dir("root").step("make a folder on the stage")?;
    for number in 0..grounds.len() {
        std::fs::create_dir(format!("over-{number}")).step("make a folder on the stage")?;
    }
    if let Identity::Range { first } = spec.identity {
        // The overlay keeps the credentials of its mounter. Unless those lie in the mapped range it cannot make its work
        // folder, and comes up read-only without an error.
        sys::set_filesystem_ids(first).step("act as the sandbox's root")?;
    }
    // These come before the root: their upper folders lie in its upper folder, which it takes for itself.
    let mut mounted = Vec::with_capacity(grounds.len());
    for (number, ground) in grounds.into_iter().enumerate() {
        mounted.push((ground.overlay.target.clone(), mount_over(&ground, number)?));
    }
    mount(&lowers, Path::new("upper"), "work", "root")?;
    Ok(mounted)
}

/// Captures what lies under an overlay. `None` when the host's folder is on a file system that cannot map owners.
fn ground(
    spec: &Spec,
    overlay: &Overlay,
    number: usize,
    owners: Option<BorrowedFd<'_>>,
) -> Result<Option<Ground>, Error> {
    let source = sys::clone_mount(&c_path(&overlay.source)?, false).step("capture a folder of the host")?;
    match sys::set_mount_attributes(source.as_fd(), HOLD, owners, false) {
        Err(_) if owners.is_some() => return Ok(None),
        other => other.step("restrict a folder of the host")?,
    }
    let below = c_path(&below(&overlay.target)?)?;
    let mut lowers = Vec::with_capacity(spec.lowers.len() + 1);
    for lower in &spec.lowers {
        let lower = folder::open(&c_path(lower)?).step("open a layer")?;
        let Some(found) = found(folder::open_below(lower.as_fd(), &below)).step("look into a layer")? else {
            continue;
        };
        let tree = sys::clone_open_mount(found.as_fd()).step("capture a part of a layer")?;
        let name = format!("{number}-{}", lowers.len());
        attach(&tree, owners, &name)?;
        lowers.push(name);
    }
    let name = format!("{number}-host");
    std::fs::create_dir(&name).step("make a folder on the stage")?;
    sys::attach(source.as_fd(), &c_path(Path::new(&name))?).step("attach a folder of the host")?;
    lowers.push(name);
    let mut mirrored = Vec::new();
    if owners.is_none() {
        // The host's root has no id inside, so nobody inside could write to the folders that belong to it.
        list_folders(&overlay.source, Path::new(""), &mut mirrored);
    }
    Ok(Some(Ground { overlay: overlay.clone(), lowers, mirrored }))
}

fn mount_over(ground: &Ground, number: usize) -> Result<OwnedFd, Error> {
    let target = below(&ground.overlay.target)?;
    let mut upper = folder::open(c"rw/upper").step("open the session's layer")?;
    let mut is_new = false;
    for name in &target {
        let name = c_path(Path::new(name))?;
        (upper, is_new) = real_folder(upper.as_fd(), &name).step("make a folder in the session's layer")?;
    }
    if is_new {
        for path in &ground.mirrored {
            mirror(upper.as_fd(), path)?;
        }
    }
    let work = format!("work-{number}");
    let rw = folder::open(c"rw").step("open the session's layer")?;
    real_folder(rw.as_fd(), &c_path(Path::new(&work))?).step("make a work folder")?;
    let place = format!("over-{number}");
    mount(&ground.lowers, &Path::new("upper").join(target), &work, &place)?;
    sys::clone_mount(&c_path(Path::new(&place))?, false).step("capture an overlay")
}

fn mount(lowers: &[String], upper: &Path, work: &str, place: &str) -> Result<(), Error> {
    forget_former_mount(&Path::new("rw").join(work).join("work/incompat"))
        .step("take over the session's former layer")?;
    let lowers = lowers.join(":");
    // What an upper folder says about itself is the same in all modes, so layers can go from one to another.
    let options =
        format!("volatile,userxattr,lowerdir={lowers},upperdir=rw/{},workdir=rw/{work}", upper.display());
    let (options, place) = (c_path(Path::new(&options))?, c_path(Path::new(place))?);
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    sys::mount(c"overlay", &place, c"overlay", flags, &options).step("mount the overlay")?;
    if sys::is_read_only(&place).step("look at the overlay")? {
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

/// Attaches a detached mount to the stage under a new name.
fn attach(tree: &OwnedFd, owners: Option<BorrowedFd<'_>>, name: &str) -> Result<(), Error> {
    sys::set_mount_attributes(tree.as_fd(), HOLD, owners, false).step(UNMAPPABLE)?;
    std::fs::create_dir(name).step("make a folder on the stage")?;
    sys::attach(tree.as_fd(), &c_path(Path::new(name))?).step("attach a layer")
}

/// The path of a place inside, seen from the root.
fn below(target: &Path) -> Result<PathBuf, Error> {
    let plain = target.strip_prefix("/").ok().filter(|path| {
        let mut components = path.components();
        components.all(|component| matches!(component, Component::Normal(_)))
            && !path.as_os_str().as_encoded_bytes().iter().any(|byte| b",:\\".contains(byte))
    });
    plain.map(Path::to_owned).ok_or_else(|| Error::new("place an overlay", "its path is not plain"))
}

/// A folder of a layer; `None` when the layer has nothing there, or something else.
fn found(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Opens a folder by its name, after making it if there is none. Anything else of that name goes. Also answers whether it
/// is new.
pub(super) fn real_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<(OwnedFd, bool)> {
    if let Some(folder) = found(folder::open_below(parent, name))? {
        return Ok((folder, false));
    }
    match folder::remove_file(parent, name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    folder::make(parent, name, 0o755)?;
    Ok((folder::open_below(parent, name)?, true))
}

/// Makes one of the host's folders anew. One that the session has replaced or removed stays so.
fn mirror(upper: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let name = |path: &Path| -> Result<CString, Error> { c_path(path) };
    match folder::make(upper, &name(path)?, 0o755) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
    .step("make a folder in the session's layer")
}

/// Folders below a folder of the host, as relative paths, parents first. What cannot be read is left out.
fn list_folders(top: &Path, at: &Path, listed: &mut Vec<PathBuf>) {
    if at.components().count() == MIRRORED_DEPTH_MAX {
        return;
    }
    let Ok(entries) = std::fs::read_dir(top.join(at)) else { return };
    for entry in entries.flatten() {
        if listed.len() == MIRRORED_MAX {
            return;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = at.join(entry.file_name());
            listed.push(path.clone());
            list_folders(top, &path, listed);
        }
    }
}
