//! Mounts that come and go while a sandbox runs.
//!
//! The work is done by short-lived processes of the spawner: [`capture`] where the host's folders are in sight, [`attach`]
//! and [`detach`] in the mount namespace of the sandbox. What is in there is hostile and may change at any moment, so no
//! path of it is ever followed: places are reached name by name through open folders, and a mount is put onto an open
//! folder and taken away by its own descriptor. Nothing of the host can be reached from there, whatever is swapped meanwhile.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;

use super::UNMAPPABLE;
use super::c_path;
use super::error::Error;
use super::error::Step;
use super::overlay::real_folder;
use super::sys;
use super::sys::ATTRIBUTE_NO_DEV;
use super::sys::ATTRIBUTE_NO_SUID;
use super::sys::ATTRIBUTE_READ_ONLY;
use super::sys::folder;

/// How often a place is made anew that somebody inside changes in the same moment.
const ATTEMPTS_MAX: usize = 64;

/// A detached mount of a folder of the host, with its owners mapped when a user namespace is given. The caller is in a
/// mount namespace from which nothing propagates.
pub fn capture(source: &Path, is_writable: bool, owners: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let mut attributes = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV;
    if !is_writable {
        attributes |= ATTRIBUTE_READ_ONLY;
    }
    let tree = sys::clone_mount(&c_path(source)?, false).step("capture a folder of the host")?;
    let mapping = if owners.is_some() { UNMAPPABLE } else { "restrict a folder of the host" };
    sys::set_mount_attributes(tree.as_fd(), attributes, owners, false).step(mapping)?;
    Ok(tree)
}

/// Attaches a detached mount at a place of this process's mount namespace, which is made if it is not there; anything on
/// the way to it that is no folder goes. `descriptors` is `/proc/self/fd` of the host.
///
/// Fails when somebody inside moves the place away meanwhile. The mount is attached nowhere then.
pub fn attach(tree: BorrowedFd<'_>, target: &Path, descriptors: BorrowedFd<'_>) -> Result<(), Error> {
    let names = names(target)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match reach(&names).and_then(|place| sys::attach_open(tree, place.as_fd())) {
            Ok(()) => break,
            Err(error) if attempts < ATTEMPTS_MAX && is_of_a_race(&error) => {}
            Err(error) => return Err(error).step("attach a folder"),
        }
    }
    if leads_to(&names, tree) {
        return Ok(());
    }
    detach(tree, descriptors)?;
    Err(Error::new("attach a folder", "its place was moved away meanwhile"))
}

/// Takes an attached mount away, wherever it is now. It is gone once nobody uses it any more. `descriptors` is
/// `/proc/self/fd` of the host.
pub fn detach(tree: BorrowedFd<'_>, descriptors: BorrowedFd<'_>) -> Result<(), Error> {
    sys::detach_open(tree, descriptors).step("detach a folder")
}

fn names(target: &Path) -> Result<Vec<CString>, Error> {
    let mut components = target.components();
    if components.next() != Some(Component::RootDir) {
        return Err(Error::new("attach a folder", "its path is not absolute"));
    }
    components
        .map(|component| match component {
            Component::Normal(name) => c_path(Path::new(name)),
            _ => Err(Error::new("attach a folder", "its path is not plain")),
        })
        .collect()
}

fn reach(names: &[CString]) -> io::Result<OwnedFd> {
    let mut place = folder::open(c"/")?;
    for name in names {
        (place, _) = real_folder(place.as_fd(), name)?;
    }
    Ok(place)
}

/// What only somebody else's change of the same names can lead to.
fn is_of_a_race(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EEXIST | libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::EAGAIN)
    )
}

/// Whether the way through these folders ends at the root of a mount.
fn leads_to(names: &[CString], tree: BorrowedFd<'_>) -> bool {
    let found = (|| {
        let mut place = folder::open(c"/")?;
        for name in names {
            place = folder::open_below(place.as_fd(), name)?;
        }
        let found = File::from(place).metadata()?;
        let wanted = File::from(tree.try_clone_to_owned()?).metadata()?;
        Ok::<bool, io::Error>((found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })();
    found.unwrap_or(false)
}
