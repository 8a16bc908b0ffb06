//! Which control groups can be made: on version 2 below a group that we may write to, on version 1 in the controller's own
//! tree.

use super::mounts;
use super::mounts::Mount;
use crate::Primitive;
use crate::sys;

const REMEDY: &str = "run the server as a systemd service with `Delegate=yes`, or as root";

/// Every kind of control group that sandboxes have a use for.
pub(super) fn all() -> Vec<Primitive> {
    let mounts = mounts::all();
    let mut found: Vec<Primitive> = ["memory", "pids", "cpu"].map(|name| bounding(&mounts, name)).into();
    found.push(freezer(&mounts));
    found
}

fn bounding(mounts: &[Mount], name: &'static str) -> Primitive {
    let place = unified(mounts, Some(name)).or_else(|| separate(mounts, name));
    let (name, cost) = match name {
        "memory" => ("control group: memory", "memory is bounded per process only, not per sandbox"),
        "pids" => (
            "control group: pids",
            "processes are bounded by the user namespace, which kernels before 5.14 do per user inside only",
        ),
        _ => ("control group: cpu", "a sandbox can take every processor"),
    };
    told(name, place, cost)
}

fn freezer(mounts: &[Mount]) -> Primitive {
    let place = unified(mounts, None).or_else(|| separate(mounts, "freezer"));
    told("control group: freezer", place, "idle sandboxes go on using the processor until they are ended")
}

fn told(name: &'static str, place: Option<String>, cost: &'static str) -> Primitive {
    Primitive {
        name,
        present: place.is_some(),
        detail: place.unwrap_or_else(|| "none that can be written to".to_owned()),
        cost,
        remedy: REMEDY.to_owned(),
    }
}

/// A place in the unified hierarchy from this process's group up that can be written to, with a controller if one is
/// named.
fn unified(mounts: &[Mount], controller: Option<&str>) -> Option<String> {
    let mount = &mounts.iter().find(|mount| mount.kind == "cgroup2")?.place;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
    let own = mount.join(own);
    let mut places = own.ancestors().take_while(|place| place.starts_with(mount));
    let place = places.find(|place| {
        let controllers = std::fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
        controller.is_none_or(has) && sys::is_writable(&place.join("cgroup.subtree_control"))
    })?;
    Some(format!("version 2 in {}", place.display()))
}

fn separate(mounts: &[Mount], controller: &str) -> Option<String> {
    let has = |mount: &&Mount| {
        mount.kind == "cgroup"
            && mount.options.split(',').any(|option| option == controller)
            && sys::is_writable(&mount.place)
    };
    mounts.iter().find(has).map(|mount| format!("version 1 in {}", mount.place.display()))
}
