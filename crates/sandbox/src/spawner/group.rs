//! Control groups: bounds on the memory, processes and processor time of a whole sandbox.
//!
//! Version 2 where its controllers can be had, version 1 per controller otherwise. What cannot be had is reported, never
//! pretended. All groups of one spawner lie in a group named after its data folder, so that the next spawner finds what a
//! killed one left.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::path::PathBuf;

use crate::Limits;
use crate::sys::process::Pid;

const CPU_PERIOD_MICROS: u64 = 100_000;
const CONTROLLERS: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Where this spawner's groups are.
#[derive(Debug)]
enum Parents {
    Unified(PathBuf),
    PerController(Vec<(Controller, PathBuf)>),
}

/// The control groups that this spawner can make.
#[derive(Debug)]
pub(crate) struct Groups {
    parents: Parents,
    has_memory: bool,
    missing: Vec<String>,
}

/// The groups of one sandbox.
#[derive(Debug)]
pub(super) struct Group {
    folders: Vec<(Bounds, PathBuf)>,
    unified: Option<File>,
}

/// What a group bounds.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    Everything,
    Only(Controller),
}

impl Groups {
    /// Finds out which controllers can be used, and ends what a former spawner of the same name left in its groups.
    pub(super) fn open(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let parents = match unified_parent(&mounts, &own, name) {
            Some(parent) => Parents::Unified(parent),
            None => Parents::PerController(separate_parents(&mounts, &own, name)),
        };
        let has = |controller| match &parents {
            Parents::Unified(_) => true,
            Parents::PerController(found) => found.iter().any(|(one, _)| *one == controller),
        };
        let missing = CONTROLLERS
            .into_iter()
            .filter(|controller| !has(*controller))
            .map(|controller| format!("control group controller {}", controller.name()))
            .collect();
        let groups = Self { has_memory: has(Controller::Memory), parents, missing };
        groups.folders().for_each(|parent| sweep(parent));
        groups
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, many) = match &self.parents {
            Parents::Unified(parent) => (Some(parent), None),
            Parents::PerController(found) => (None, Some(found.iter().map(|(_, folder)| folder))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// What could not be had.
    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Whether the memory of a sandbox is bounded by a group.
    pub(super) fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// The groups of a new sandbox, without limits yet.
    pub(super) fn make(&self, name: &str) -> io::Result<Group> {
        let mut group = Group { folders: Vec::new(), unified: None };
        let made = self.fill(&mut group, name);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    fn fill(&self, group: &mut Group, name: &str) -> io::Result<()> {
        match &self.parents {
            Parents::Unified(parent) => {
                let folder = make_folder(parent, name)?;
                group.unified = Some(File::open(&folder)?);
                group.folders.push((Bounds::Everything, folder));
            }
            Parents::PerController(found) => {
                for (controller, parent) in found {
                    group.folders.push((Bounds::Only(*controller), make_folder(parent, name)?));
                }
            }
        }
        Ok(())
    }

    /// Removes the groups that all of this spawner's groups were in.
    pub(super) fn close(&self) {
        self.folders().for_each(|parent| sweep(parent));
        for parent in self.folders() {
            drop(std::fs::remove_dir(parent));
        }
    }
}

impl Group {
    /// The folder to be born into, on version 2.
    pub(super) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Takes a process in, on version 1.
    pub(super) fn take_in(&self, pid: Pid) -> io::Result<()> {
        if self.unified.is_some() {
            return Ok(());
        }
        let pid = pid.to_string();
        self.folders.iter().try_for_each(|(_, folder)| std::fs::write(folder.join("cgroup.procs"), &pid))
    }

    /// Bounds what the processes inside use.
    pub(super) fn limit(&self, limits: &Limits) -> io::Result<()> {
        self.folders.iter().try_for_each(|(bounds, folder)| match bounds {
            Bounds::Everything => limit_unified(folder, limits),
            Bounds::Only(controller) => limit_separate(*controller, folder, limits),
        })
    }

    /// Removes the groups; false while something in them is still on its way out.
    pub(super) fn remove(&mut self) -> bool {
        self.folders.retain(|(_, folder)| {
            let gone = std::fs::remove_dir(folder);
            gone.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
        self.folders.is_empty()
    }
}

fn limit_unified(folder: &Path, limits: &Limits) -> io::Result<()> {
    let memory = limits.memory_bytes_max;
    std::fs::write(folder.join("memory.max"), memory.to_string())?;
    std::fs::write(folder.join("memory.high"), (memory / 10 * 9).to_string())?;
    write_if_present(&folder.join("memory.swap.max"), "0")?;
    std::fs::write(folder.join("pids.max"), limits.processes_max.to_string())?;
    let quota = u64::from(limits.cpu_millis_max) * CPU_PERIOD_MICROS / 1000;
    std::fs::write(folder.join("cpu.max"), format!("{quota} {CPU_PERIOD_MICROS}"))
}

fn limit_separate(controller: Controller, folder: &Path, limits: &Limits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let memory = limits.memory_bytes_max.to_string();
            std::fs::write(folder.join("memory.limit_in_bytes"), &memory)?;
            // Memory and swap together; only there when the kernel counts swap.
            write_if_present(&folder.join("memory.memsw.limit_in_bytes"), &memory)
        }
        Controller::Pids => std::fs::write(folder.join("pids.max"), limits.processes_max.to_string()),
        Controller::Cpu => {
            let quota = u64::from(limits.cpu_millis_max) * CPU_PERIOD_MICROS / 1000;
            std::fs::write(folder.join("cpu.cfs_period_us"), CPU_PERIOD_MICROS.to_string())?;
            std::fs::write(folder.join("cpu.cfs_quota_us"), quota.to_string())
        }
    }
}

fn write_if_present(path: &Path, text: &str) -> io::Result<()> {
    match std::fs::write(path, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Control files cannot be created, which is how an absent one shows.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.exists() => Ok(()),
        other => other,
    }
}

fn make_folder(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let folder = parent.join(name);
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(folder),
    }
}

/// Ends every process in the groups below a parent and removes those groups.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if let Err(error) = std::fs::remove_dir(&folder) {
            super::log(&format!("remove control group {}: {error}", folder.display()));
        }
    }
}

/// A folder of version 2 in which groups with all three controllers can be made: a group of our own in the nearest
/// ancestor of this process's group that lets us.
fn unified_parent(mounts: &str, own: &str, name: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| mount_point(line, |kind, _| kind == "cgroup2"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut place = mount.join(own.trim_start_matches('/'));
    loop {
        if let Some(parent) = try_unified(&place, name) {
            return Some(parent);
        }
        if place == mount || !place.pop() {
            return None;
        }
    }
}

fn try_unified(place: &Path, name: &str) -> Option<PathBuf> {
    let available = std::fs::read_to_string(place.join("cgroup.controllers")).ok()?;
    let has = |controller: Controller| available.split_whitespace().any(|word| word == controller.name());
    if !CONTROLLERS.into_iter().all(has) {
        return None;
    }
    let all = "+memory +pids +cpu";
    // Refused while processes live in the group itself.
    std::fs::write(place.join("cgroup.subtree_control"), all).ok()?;
    let parent = make_folder(place, name).ok()?;
    if std::fs::write(parent.join("cgroup.subtree_control"), all).is_err() {
        drop(std::fs::remove_dir(&parent));
        return None;
    }
    Some(parent)
}

/// For each controller of version 1 that can be used, a group of our own in this process's group.
fn separate_parents(mounts: &str, own: &str, name: &str) -> Vec<(Controller, PathBuf)> {
    let find = |controller: Controller| {
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
    CONTROLLERS.into_iter().filter_map(find).collect()
}

/// The mount point in a line of `mountinfo` if its file system type and options are the wanted ones.
fn mount_point(line: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
    wanted(kind, options).then(|| before.split(' ').nth(4)).flatten().map(PathBuf::from)
}
