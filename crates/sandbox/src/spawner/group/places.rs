//! Finding the places in the host's hierarchies where groups can be made.
//!
//! In the unified hierarchy that is a group of our own in the ancestor of this process's group that grants most. A group
//! with processes in it cannot grant anything. When it was delegated to us (a service with `Delegate=yes`), its processes,
//! ours among them, first move into a group below it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use super::Controller;
use super::Parents;
use super::Unified;
use super::make_folder;
use crate::sys::process;

/// Group for the processes of a service whose own group was delegated to us.
const OWN_GROUP: &str = "journeyman";
/// Rounds of moving processes: others may be started meanwhile.
const MOVES_MAX: usize = 5;

/// The places for the groups of the spawner of this name, by the mounts and the groups of this process.
pub(super) fn find(mounts: &str, own: &str, name: &str) -> Parents {
    let unified = unified(mounts, own, name);
    // Every group of version 2 counts time and can be held, whatever controllers it has.
    let is_complete = unified.as_ref().is_some_and(|unified| unified.folder.join("cgroup.freeze").exists());
    let wanted = if is_complete { &Controller::BOUNDING[..] } else { &Controller::SEPARATE[..] };
    Parents { unified, separate: separate(wanted, mounts, own, name) }
}

fn unified(mounts: &str, own: &str, name: &str) -> Option<Unified> {
    let mount = mounts.lines().find_map(|line| mount_point(line, |kind, _| kind == "cgroup2"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = mount.join(own.trim_start_matches('/'));
    let mut best: Option<Unified> = None;
    for place in own.ancestors().take_while(|place| place.starts_with(&mount)) {
        let Some(found) = try_place(place, place == own, name) else { continue };
        let is_better = best.as_ref().is_none_or(|best| found.controllers.len() > best.controllers.len());
        let is_all = found.controllers.len() == Controller::BOUNDING.len();
        let worse = if is_better { best.replace(found) } else { Some(found) };
        if let Some(worse) = worse {
            drop(std::fs::remove_dir(worse.folder));
        }
        if is_all {
            break;
        }
    }
    best
}

fn try_place(place: &Path, is_own: bool, name: &str) -> Option<Unified> {
    if grant(place).is_empty() && is_own && is_delegated(place) && move_below(place) {
        grant(place);
    }
    let folder = make_folder(place, name).ok()?;
    let controllers = grant(&folder);
    Some(Unified { folder, controllers })
}

/// Lets the groups below a group have controllers; answers which of ours they have then.
fn grant(place: &Path) -> Vec<Controller> {
    let available = std::fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
    let control = place.join("cgroup.subtree_control");
    // Refused while processes live in the group itself.
    let granted = |name: &str| {
        available.split_whitespace().any(|word| word == name)
            && std::fs::write(&control, format!("+{name}")).is_ok()
    };
    // With it, what a sandbox has written and the disk has not yet counts against that sandbox alone.
    granted("io");
    Controller::BOUNDING.into_iter().filter(|controller| granted(controller.name())).collect()
}

/// Whether the service manager has left the group to us.
fn is_delegated(place: &Path) -> bool {
    let (uid, _) = process::ids();
    // Nobody but root can write to a group that was not delegated.
    uid != 0 || ["trusted.delegate", "user.delegate"].iter().any(|name| has_attribute(place, name))
}

#[expect(unsafe_code, reason = "the standard library does not read extended attributes")]
fn has_attribute(place: &Path, name: &str) -> bool {
    let (Ok(place), Ok(name)) = (CString::new(place.as_os_str().as_bytes()), CString::new(name)) else {
        return false;
    };
    let mut value = [0u8; 8];
    // SAFETY: two strings that end, and a buffer with its length.
    let length =
        unsafe { libc::getxattr(place.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    length == 1 && value[0] == b'1'
}

/// Moves the processes of a group into one below it. False when some stayed.
fn move_below(place: &Path) -> bool {
    let Ok(below) = make_folder(place, OWN_GROUP) else { return false };
    for _ in 0..MOVES_MAX {
        let members = std::fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
        if members.trim().is_empty() {
            return true;
        }
        for pid in members.lines() {
            // It may be gone.
            drop(std::fs::write(below.join("cgroup.procs"), pid));
        }
    }
    false
}

/// For each controller of version 1 that can be used, a group of our own in this process's group.
fn separate(wanted: &[Controller], mounts: &str, own: &str, name: &str) -> Vec<(Controller, PathBuf)> {
    let find = |controller: &Controller| {
        let controller = *controller;
        let has = |options: &str| options.split(',').any(|option| option == controller.name());
        let mount = mounts
            .lines()
            .find_map(|line| mount_point(line, |kind, options| kind == "cgroup" && has(options)))?;
        let own = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|one| one == controller.name()).then_some(path)
        })?;
        let inside = mount.join(own.trim_start_matches('/'));
        let place = if inside.is_dir() { inside } else { mount };
        let parent = make_folder(&place, name).ok()?;
        Some((controller, parent))
    };
    wanted.iter().filter_map(find).collect()
}

/// The mount point in a line of `mountinfo` if its file system type and options are the wanted ones.
fn mount_point(line: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
    wanted(kind, options).then(|| before.split(' ').nth(4)).flatten().map(PathBuf::from)
}
