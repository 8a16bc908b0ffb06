//! Folders that are mounted in a sandbox and taken away again: at its start, when its walls stand, and while it runs.
//!
//! One change at a time for each sandbox; others wait in a queue. The spawner keeps a descriptor of every mount, so that it
//! takes away that one and nothing else, wherever somebody inside may have moved the folders around it.

mod helper;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;

use self::helper::Change;
use self::helper::Failure;
use self::helper::Helper;
use super::cell::Cell;
use super::cell::State;
use super::cell::Waiter;
use super::serve::Spawner;
use crate::Access;
use crate::MOUNTS_MAX;
use crate::Mount;
use crate::MountTarget;
use crate::beneath;
use crate::wire::Answer;
use crate::wire::Ask;

/// How long a change may take, against somebody inside who hinders it.
const CHANGE_MAX: Duration = Duration::from_secs(10);

/// A folder that a sandbox shows.
#[derive(Debug)]
pub(super) struct Shown {
    access: Access,
    tree: OwnedFd,
}

/// The changes that are under way, and who waits for his turn.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: u64,
    running: BTreeMap<u64, Running>,
    queue: Vec<(SessionId, Waiter, Ask)>,
}

#[derive(Debug)]
struct Running {
    session: SessionId,
    helper: Helper,
    deadline: Instant,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// What the sandbox has from its start.
    Start(Vec<Mount>),
    Mount(Waiter, Mount),
    Unmount(Waiter, MountTarget),
}

impl Changes {
    /// The processes to watch.
    pub(super) fn running(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.running.iter().map(|(number, running)| (*number, running.helper.as_fd()))
    }

    /// When a change has taken too long.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.running.values().map(|running| running.deadline)
    }

    fn is_on(&self, session: &SessionId) -> bool {
        self.running.values().any(|running| running.session == *session)
    }
}

impl Spawner {
    pub(super) fn mount(&mut self, waiter: Waiter, session: SessionId, mount: Mount) {
        if self.changes.is_on(&session) || self.is_between(&session) {
            return self.changes.queue.push((session.clone(), waiter, Ask::Mount { session, mount }));
        }
        if self.works.is_on(&session) {
            return self.fail(waiter, "its files are being packed or unpacked");
        }
        if let Some(cell) = self.cells.get(&session) {
            match cell.mounts.get(&mount.target) {
                Some(shown) if shown.access == mount.access => {
                    return self.reply(waiter, Answer::Ended, None);
                }
                Some(_) => return self.fail(waiter, "it is mounted with another access"),
                None if cell.mounts.len() >= MOUNTS_MAX => {
                    return self.fail(waiter, "it has too many mounts");
                }
                None if has_below(cell, &mount.target) => {
                    return self.fail(waiter, "another mount lies below it");
                }
                None => {}
            }
            self.begin(&session, vec![mount.clone()], |_| Purpose::Mount(waiter, mount));
        } else {
            let made = self.make_mount(&session, &mount).map(drop);
            self.told(waiter, made);
        }
    }

    pub(super) fn unmount(&mut self, waiter: Waiter, session: SessionId, target: MountTarget) {
        if self.changes.is_on(&session) || self.is_between(&session) {
            return self.changes.queue.push((session.clone(), waiter, Ask::Unmount { session, target }));
        }
        if self.works.is_on(&session) {
            return self.fail(waiter, "its files are being packed or unpacked");
        }
        let Some(cell) = self.cells.get(&session) else {
            let discarded = self.discard_mount(&session, &target);
            return self.told(waiter, discarded);
        };
        if has_below(cell, &target) {
            return self.fail(waiter, "another mount lies below it");
        }
        let Some(shown) = cell.mounts.get(&target) else {
            let discarded = self.discard_mount(&session, &target);
            return self.told(waiter, discarded);
        };
        match shown.tree.try_clone() {
            Ok(tree) => self.make_change(&session, &Change::Detach(tree), Purpose::Unmount(waiter, target)),
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }

    /// Mounts what a sandbox has from its start, and lets it serve then. Its walls stand.
    pub(super) fn furnish(&mut self, session: &SessionId) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        let mut wanted = std::mem::take(&mut cell.wanted);
        if wanted.is_empty() {
            return self.serve_waiting(session);
        }
        wanted.sort_unstable_by(|one, other| one.target.cmp(&other.target));
        if wanted.len() > MOUNTS_MAX || wanted.windows(2).any(|pair| pair[0].target == pair[1].target) {
            return self.give_up(session, "it has too many mounts, or two in one place");
        }
        self.begin(session, wanted, Purpose::Start);
    }

    /// Makes the folders of mounts and starts to show them, parents first.
    fn begin(
        &mut self,
        session: &SessionId,
        mounts: Vec<Mount>,
        purpose: impl FnOnce(Vec<Mount>) -> Purpose,
    ) {
        let mut folders = Vec::with_capacity(mounts.len());
        for mount in &mounts {
            let above = self.above(session, &folders, &mount.target);
            let made = self.make_mount(session, mount).and_then(|folder| {
                // Nobody inside can make its place in a folder that is read-only.
                let above = above.filter(|above| above.access == Access::ReadOnly);
                if let Some((above, way)) =
                    above.as_ref().and_then(|above| Some((above, mount.target.below(&above.target)?)))
                {
                    beneath::make_way(&self.make_mount(session, above)?, way)?;
                }
                Ok(folder)
            });
            match made {
                Ok(folder) => folders.push((folder, mount.clone())),
                Err(error) => return self.not_changed(session, &purpose(mounts), &error.to_string()),
            }
        }
        self.make_change(session, &Change::Attach(folders), purpose(mounts));
    }

    fn make_change(&mut self, session: &SessionId, change: &Change, purpose: Purpose) {
        let (Some(cell), Ok(launcher)) = (self.cells.get(session), &self.launcher) else {
            return self.not_changed(session, &purpose, "no sandbox runs");
        };
        match Helper::start(&launcher.owners, cell, change) {
            Ok(helper) => {
                self.changes.last += 1;
                let deadline = Instant::now() + CHANGE_MAX;
                let running = Running { session: session.clone(), helper, deadline, purpose };
                self.changes.running.insert(self.changes.last, running);
            }
            Err(error) => self.not_changed(session, &purpose, &error.to_string()),
        }
    }

    /// The process that made a change is over.
    pub(super) fn change_ended(&mut self, number: u64) {
        let Some(running) = self.changes.running.get(&number) else { return };
        if matches!(running.helper.has_ended(), Ok(false)) {
            return;
        }
        let Some(Running { session, helper, deadline: _, purpose }) = self.changes.running.remove(&number)
        else {
            return;
        };
        match helper.outcome() {
            Ok(trees) => self.changed(&session, purpose, trees),
            Err(Failure::Said(reason)) => self.not_changed(&session, &purpose, &reason),
            Err(Failure::Silent) => {
                self.is_not_known(&session, &purpose, "the process that does it was killed");
            }
        }
        self.take_turns(&session);
    }

    fn changed(&mut self, session: &SessionId, purpose: Purpose, trees: Vec<OwnedFd>) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        let note = |mounts: Vec<Mount>| {
            for (Mount { target, access }, tree) in mounts.into_iter().zip(trees) {
                cell.mounts.insert(target, Shown { access, tree });
            }
        };
        match purpose {
            Purpose::Start(mounts) => {
                note(mounts);
                self.serve_waiting(session);
            }
            Purpose::Mount(waiter, mount) => {
                note(vec![mount]);
                self.reply(waiter, Answer::Ended, None);
            }
            Purpose::Unmount(waiter, target) => {
                cell.mounts.remove(&target);
                let discarded = self.discard_mount(session, &target);
                self.told(waiter, discarded);
            }
        }
    }

    fn not_changed(&mut self, session: &SessionId, purpose: &Purpose, reason: &str) {
        match purpose {
            Purpose::Start(_) => self.give_up(session, reason),
            Purpose::Mount(waiter, _) | Purpose::Unmount(waiter, _) => self.fail(*waiter, reason),
        }
    }

    /// A change was broken off. What is mounted now is not known, so that the sandbox cannot go on.
    fn is_not_known(&mut self, session: &SessionId, purpose: &Purpose, reason: &str) {
        self.give_up(session, &format!("a change of its mounts was broken off: {reason}"));
        self.not_changed(session, purpose, reason);
    }

    /// A sandbox is gone: nothing is changed in it any more. Who wanted a change asks anew.
    pub(super) fn drop_changes(&mut self, session: &SessionId) {
        let numbers: Vec<u64> = self
            .changes
            .running
            .iter()
            .filter(|(_, one)| one.session == *session)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let Some(Running { session, helper, deadline: _, purpose }) =
                self.changes.running.remove(&number)
            else {
                continue;
            };
            helper.end();
            let again = match purpose {
                Purpose::Start(_) => continue,
                Purpose::Mount(waiter, mount) => (waiter, Ask::Mount { session: session.clone(), mount }),
                Purpose::Unmount(waiter, target) => {
                    (waiter, Ask::Unmount { session: session.clone(), target })
                }
            };
            self.changes.queue.push((session, again.0, again.1));
        }
    }

    /// Those who wait to change something in a sandbox ask anew.
    pub(super) fn take_turns(&mut self, session: &SessionId) {
        let queue = std::mem::take(&mut self.changes.queue);
        let (now, later) = queue.into_iter().partition(|(other, _, _)| other == session);
        self.changes.queue = later;
        let now: Vec<(SessionId, Waiter, Ask)> = now;
        for (_, waiter, ask) in now {
            self.answer(waiter, ask, None);
        }
    }

    /// Ends changes that take too long.
    pub(super) fn end_late_changes(&mut self, now: Instant) {
        let late: Vec<u64> = self
            .changes
            .running
            .iter()
            .filter(|(_, one)| one.deadline <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let Some(Running { session, helper, deadline: _, purpose }) =
                self.changes.running.remove(&number)
            else {
                continue;
            };
            helper.end();
            self.is_not_known(&session, &purpose, "it took too long");
            self.take_turns(&session);
        }
    }

    /// Whether a session's sandbox is neither there nor absent: whoever wants to change something waits.
    fn is_between(&self, session: &SessionId) -> bool {
        self.cells.get(session).is_some_and(|cell| !matches!(cell.state, State::Running))
    }

    /// The nearest mount above a target: one that is there, or one of those that come before it.
    fn above(
        &self,
        session: &SessionId,
        earlier: &[(PathBuf, Mount)],
        target: &MountTarget,
    ) -> Option<Mount> {
        let there = self.cells.get(session).into_iter().flat_map(|cell| &cell.mounts);
        let there = there.map(|(other, shown)| Mount { target: other.clone(), access: shown.access });
        let all = there.chain(earlier.iter().map(|(_, mount)| mount.clone()));
        all.filter(|other| target.is_below(&other.target)).max_by_key(|other| other.target.as_str().len())
    }
}

fn has_below(cell: &Cell, target: &MountTarget) -> bool {
    cell.mounts.keys().any(|other| other.is_below(target))
}
