//! Control groups: bounds on the memory, processes and processor time of a whole sandbox, and the means to hold or end it.
//!
//! Each controller is used where it is: in the unified hierarchy of version 2 or in a hierarchy of version 1, so hosts
//! with both work too. The unified hierarchy is used for holding and ending even when it has none of the controllers.
//! What cannot be had is reported, never pretended. All groups of one spawner lie in a group named after its data folder,
//! so that the next spawner finds what a killed one left.

mod limits;
mod places;
mod sweep;
mod usage;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::path::PathBuf;

use crate::Limits;
use crate::Usage;

/// What bounds, counts or holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
    /// Version 1 counts processor time apart from bounding it.
    Accounting,
    /// Version 1 holds processes by a controller; in version 2 every group can.
    Freezer,
}

impl Controller {
    /// The ones that bound a sandbox.
    const BOUNDING: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];
    /// All that version 1 has a use for.
    const SEPARATE: [Self; 5] = [Self::Memory, Self::Pids, Self::Cpu, Self::Accounting, Self::Freezer];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Accounting => "cpuacct",
            Self::Freezer => "freezer",
        }
    }
}

/// Where this spawner's groups are.
#[derive(Debug, Default)]
struct Parents {
    unified: Option<Unified>,
    separate: Vec<(Controller, PathBuf)>,
}

/// A group of the unified hierarchy and the controllers that groups in it have.
#[derive(Clone, Debug)]
struct Unified {
    folder: PathBuf,
    controllers: Vec<Controller>,
}

/// The control groups that this spawner can make.
#[derive(Debug)]
pub(crate) struct Groups {
    parents: Parents,
    missing: Vec<String>,
    /// Groups whose last processes are still on their way out.
    lingering: Vec<Group>,
}

/// The groups of one sandbox.
#[derive(Debug)]
pub(super) struct Group {
    unified: Option<Unified>,
    handle: Option<File>,
    separate: Vec<(Controller, PathBuf)>,
}

impl Groups {
    /// Finds out which controllers can be used, and ends what a former spawner of the same name left in its groups.
    pub(super) fn open(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::below(places::find(&mounts, &own, name))
    }

    fn below(parents: Parents) -> Self {
        let mut groups = Self { parents, missing: Vec::new(), lingering: Vec::new() };
        let missing = Controller::BOUNDING.into_iter().filter(|controller| !groups.has(*controller));
        groups.missing =
            missing.map(|controller| format!("control group controller {}", controller.name())).collect();
        groups.sweep();
        groups
    }

    fn has(&self, controller: Controller) -> bool {
        let unified = self.parents.unified.as_ref();
        unified.is_some_and(|unified| unified.controllers.contains(&controller))
            || self.parents.separate.iter().any(|(one, _)| *one == controller)
    }

    fn folders(&self) -> impl Iterator<Item = &Path> {
        let unified = self.parents.unified.iter().map(|unified| unified.folder.as_path());
        unified.chain(self.parents.separate.iter().map(|(_, folder)| folder.as_path()))
    }

    /// What could not be had.
    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Whether the memory of a sandbox is bounded by a group.
    pub(super) fn has_memory(&self) -> bool {
        self.has(Controller::Memory)
    }

    /// Whether sandboxes can be held, see [`Group::freeze`].
    pub(super) fn can_freeze(&self) -> bool {
        let unified = self.parents.unified.as_ref();
        unified.is_some_and(|unified| unified.folder.join("cgroup.freeze").exists())
            || self.has(Controller::Freezer)
    }

    /// The groups of a new sandbox, without limits yet.
    pub(super) fn make(&self, name: &str) -> io::Result<Group> {
        let mut group = Group { unified: None, handle: None, separate: Vec::new() };
        let made = self.fill(&mut group, name);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    fn fill(&self, group: &mut Group, name: &str) -> io::Result<()> {
        if let Some(Unified { folder, controllers }) = &self.parents.unified {
            let folder = make_folder(folder, name)?;
            group.unified = Some(Unified { folder: folder.clone(), controllers: controllers.clone() });
            group.handle = Some(File::open(&folder)?);
        }
        for (controller, parent) in &self.parents.separate {
            group.separate.push((*controller, make_folder(parent, name)?));
        }
        Ok(())
    }

    /// Removes the groups of a sandbox that is over, now or, while something in them is still on its way out, by
    /// [`Groups::tidy`].
    pub(super) fn retire(&mut self, mut group: Group) {
        if !group.remove() {
            self.lingering.push(group);
        }
    }

    /// Whether groups wait to be removed.
    pub(super) fn has_lingering(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// Removes groups that lingered. True when none does any more.
    pub(super) fn tidy(&mut self) -> bool {
        self.lingering.retain_mut(|group| !group.remove());
        self.lingering.is_empty()
    }

    /// Ends what lives in any of the groups, and removes these.
    fn sweep(&self) {
        // A process may be held by one controller while it keeps the group of another.
        self.folders().for_each(sweep::end);
        self.folders().for_each(sweep::empty);
    }

    /// Removes the groups that all of this spawner's groups were in.
    pub(super) fn close(&self) {
        self.sweep();
        for parent in self.folders() {
            drop(std::fs::remove_dir(parent));
        }
    }
}

impl Group {
    /// The folder to be born into, on version 2.
    pub(super) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(AsFd::as_fd)
    }

    /// Where a process of one thread writes `0` to move in by itself, on version 1.
    ///
    /// Moving another process, or one with threads, takes a lock for which the kernel waits until every processor has
    /// rested once: 10 to 25 ms, when nobody has moved lately.
    pub(super) fn entries(&self) -> io::Result<Vec<File>> {
        let open = |folder: &PathBuf| File::options().write(true).open(folder.join("tasks"));
        self.separate.iter().map(|(_, folder)| open(folder)).collect()
    }

    /// Bounds what the processes inside use.
    pub(super) fn limit(&self, bounds: &Limits) -> io::Result<()> {
        if let Some(Unified { folder, controllers }) = &self.unified {
            controllers.iter().try_for_each(|controller| limits::unified(*controller, folder, bounds))?;
        }
        self.separate
            .iter()
            .try_for_each(|(controller, folder)| limits::separate(*controller, folder, bounds))
    }

    /// What the processes inside use; what is not counted on this host is left out.
    pub(super) fn usage(&self) -> Usage {
        let unified = self.unified.as_ref().map(|unified| unified.folder.as_path());
        usage::read(unified, |controller| self.separate(controller))
    }

    fn separate(&self, controller: Controller) -> Option<&Path> {
        self.separate.iter().find(|(one, _)| *one == controller).map(|(_, folder)| folder.as_path())
    }

    /// Holds every process inside: none makes progress until [`Group::thaw`]. They are held a moment later, see
    /// [`Group::is_frozen`].
    pub(super) fn freeze(&self) -> io::Result<()> {
        self.hold(true)
    }

    /// Lets the processes inside go on.
    pub(super) fn thaw(&self) -> io::Result<()> {
        self.hold(false)
    }

    fn hold(&self, hold: bool) -> io::Result<()> {
        if let Some(file) = self.unified_file("cgroup.freeze") {
            return std::fs::write(file, if hold { "1" } else { "0" });
        }
        let folder = self.separate(Controller::Freezer).ok_or(io::ErrorKind::Unsupported)?;
        std::fs::write(folder.join("freezer.state"), if hold { "FROZEN" } else { "THAWED" })
    }

    /// Whether every process inside is held.
    pub(super) fn is_frozen(&self) -> bool {
        if let Some(file) = self.unified_file("cgroup.events") {
            let events = std::fs::read_to_string(file).unwrap_or_default();
            return events.lines().any(|line| line == "frozen 1");
        }
        let state = self.separate(Controller::Freezer).map(|folder| folder.join("freezer.state"));
        state.is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|state| state.trim() == "FROZEN"))
    }

    /// Ends every process inside, held or not, as far as groups can. The first process of the sandbox is to be killed
    /// before: where groups cannot kill, this only lets held processes go so that they die of that.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self.unified_file("cgroup.kill") {
            Some(file) => std::fs::write(file, "1"),
            None if self.is_frozen() => self.thaw(),
            None => Ok(()),
        }
    }

    fn unified_file(&self, name: &str) -> Option<PathBuf> {
        let file = self.unified.as_ref()?.folder.join(name);
        file.exists().then_some(file)
    }

    /// Removes the groups; false while something in them is still on its way out.
    pub(super) fn remove(&mut self) -> bool {
        let is_gone = |folder: &Path| match std::fs::remove_dir(folder) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        if self.unified.as_ref().is_some_and(|unified| is_gone(&unified.folder)) {
            self.unified = None;
        }
        self.separate.retain(|(_, folder)| !is_gone(folder));
        self.unified.is_none() && self.separate.is_empty()
    }
}

fn make_folder(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let folder = parent.join(name);
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(folder),
    }
}

#[cfg(test)]
mod tests;
