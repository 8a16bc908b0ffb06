//! What is done for a request, and what follows when a sandbox is up or gone.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use hand::confine::UNMAPPABLE;

use super::cell::After;
use super::cell::Cell;
use super::cell::Plan;
use super::cell::Said;
use super::cell::State;
use super::cell::Waiter;
use super::egress::Door;
use super::group::Group;
use super::launch::Launched;
use super::launch::Progress;
use super::log;
use super::owners::Range;
use super::serve::Spawner;
use super::volume::Volumes;
use crate::Status;
use crate::Usage;
use crate::wire::Answer;
use crate::wire::Ask;
use crate::wire::PROTOCOL;

/// How long raising the walls may take. Usual is a few milliseconds.
const START_MAX: Duration = Duration::from_secs(10);

impl Spawner {
    /// Does what a client asks, now or as soon as it can be done.
    pub(super) fn answer(&mut self, waiter: Waiter, ask: Ask, attached: Option<OwnedFd>) {
        match ask {
            Ask::Provision { session, kind, mounts, alive_max } => {
                self.provision(waiter, Plan { session, kind, mounts, alive_max });
            }
            Ask::Adopt { session } => self.adopt(waiter, &session),
            Ask::End { session, keep_files } => self.end(waiter, &session, keep_files),
            Ask::Usage { session } => self.tell_usage(waiter, &session),
            Ask::Freeze { session } => self.freeze(waiter, &session),
            Ask::Kept { after } => self.tell_kept(waiter, after.as_ref()),
            Ask::Pack { session } => self.pack(waiter, session),
            Ask::Unpack { place } => self.unpack(waiter, place),
            Ask::Await { work } => self.await_work(waiter, work),
            Ask::Commit { session, layer } => self.commit(waiter, &session, &layer),
            Ask::Layers { after } => self.tell_layers(waiter, after.as_ref()),
            Ask::RemoveLayer { layer } => self.remove_layer(waiter, &layer),
            Ask::Mount { session, mount } => self.mount(waiter, session, mount),
            Ask::Unmount { session, target } => self.unmount(waiter, session, target),
            Ask::NewFile { session, folder } => self.new_file(waiter, &session, &folder),
            Ask::PutFile { place } => self.put_file(waiter, &place, attached),
            Ask::RemoveFile { session, folder, path } => self.remove_file(waiter, &session, &folder, &path),
            Ask::List => {
                let sessions = self.cells.keys().cloned().collect();
                self.reply(waiter, Answer::Sessions { sessions }, None);
            }
            Ask::Ping => self.introduce(waiter),
            Ask::Shutdown => self.close(Some(waiter)),
        }
    }

    fn introduce(&mut self, waiter: Waiter) {
        let status = match &self.launcher {
            Ok(launcher) => Status {
                mode: Some(launcher.mode),
                disk: launcher.volumes.name().to_owned(),
                can_freeze: launcher.groups.can_freeze(),
                missing: launcher
                    .groups
                    .missing()
                    .iter()
                    .cloned()
                    .chain(launcher.volumes.missing().map(str::to_owned))
                    .collect(),
            },
            Err(unavailable) => Status {
                mode: None,
                disk: String::new(),
                can_freeze: false,
                missing: vec![format!("{}; {}", unavailable.reason, unavailable.remedy)],
            },
        };
        let pid = i32::try_from(std::process::id()).expect("a process id is a positive i32");
        self.reply(waiter, Answer::Spawner { protocol: PROTOCOL, pid, status }, None);
    }

    fn provision(&mut self, waiter: Waiter, plan: Plan) {
        if self.closing.is_some() {
            return self.fail(waiter, "the spawner is ending");
        }
        if self.works.is_on(&plan.session) {
            return self.fail(waiter, "its files are being packed or unpacked");
        }
        self.thaw(&plan.session);
        match self.cells.get_mut(&plan.session).map(|cell| &mut cell.state) {
            None => self.start(waiter, &plan),
            Some(State::Starting { waiting, .. }) => waiting.push(waiter),
            Some(State::Running) => {
                let session = plan.session.clone();
                self.connect(waiter, &session, After::Provision { waiter, plan });
            }
            Some(State::Ending { after }) => after.push(After::Provision { waiter, plan }),
        }
    }

    fn adopt(&mut self, waiter: Waiter, session: &SessionId) {
        self.thaw(session);
        match self.cells.get_mut(session).map(|cell| &mut cell.state) {
            Some(State::Starting { waiting, .. }) => waiting.push(waiter),
            Some(State::Running) => {
                if let Some(Ok(stream)) = self.cells.get(session).map(Cell::connect) {
                    let sole_since = self.vacancies.sole_since(session);
                    self.reply(waiter, Answer::Connected { sole_since }, Some(&stream));
                } else {
                    // It is about to be gone, and what it has done is not known.
                    self.reply(waiter, Answer::Absent { sole_since: None }, None);
                }
            }
            Some(State::Ending { .. }) => self.reply(waiter, Answer::Absent { sole_since: None }, None),
            None => {
                let sole_since = self.vacancies.sole_since(session);
                self.reply(waiter, Answer::Absent { sole_since }, None);
            }
        }
    }

    fn end(&mut self, waiter: Waiter, session: &SessionId, keep_files: bool) {
        if self.cells.contains_key(session) {
            log(&format!("ended the sandbox of {session}: a server wanted it"));
            self.kill(session, vec![After::Ended { waiter, keep_files }]);
        } else {
            self.ended(waiter, session, keep_files);
        }
    }

    /// Tells that no sandbox of the session runs, after its files are out of the way if they are not kept.
    fn ended(&mut self, waiter: Waiter, session: &SessionId, keep_files: bool) {
        if !keep_files {
            Volumes::release(&self.files.folder(session));
        }
        if !keep_files && let Err(error) = self.files.discard(session) {
            return self.fail(waiter, &format!("remove the files: {error}"));
        }
        if !keep_files {
            self.trash.note();
            self.egress.close(session, true);
        }
        self.reply(waiter, Answer::Ended, None);
    }

    fn start(&mut self, waiter: Waiter, plan: &Plan) {
        let launcher = match &mut self.launcher {
            Ok(launcher) => launcher,
            Err(unavailable) => {
                let (reason, remedy) = (unavailable.reason.clone(), unavailable.remedy.clone());
                return self.reply(waiter, Answer::Unavailable { reason, remedy }, None);
            }
        };
        if self.cells.len() >= plan.alive_max {
            return self.reply(waiter, Answer::Full, None);
        }
        match launcher.launch(&self.files, plan) {
            Ok(Launched { child, control, group, range, progress, listeners }) => {
                let is_up = progress == Progress::Up;
                let deadline = Instant::now() + START_MAX;
                let is_spare = progress == Progress::Spare;
                let serves = is_up && plan.mounts.is_empty();
                let waiting = if serves { Vec::new() } else { vec![waiter] };
                let state = if serves {
                    State::Running
                } else {
                    State::Starting { deadline, waiting, is_spare, walls_stand: is_up }
                };
                let door = Door { listeners };
                let cell = Cell {
                    child,
                    control,
                    group,
                    range,
                    door,
                    kind: plan.kind.clone(),
                    is_frozen: false,
                    mounts: BTreeMap::new(),
                    wanted: plan.mounts.clone(),
                    state,
                };
                self.egress.admit(&plan.session, &cell.door);
                self.cells.insert(plan.session.clone(), cell);
                if serves {
                    // It may have died since its walls stood.
                    let plan = plan.clone();
                    self.connect(waiter, &plan.session.clone(), After::Provision { waiter, plan });
                } else if is_up {
                    self.furnish(&plan.session);
                }
            }
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }

    /// A hand has said whether its walls stand.
    pub(super) fn walls(&mut self, session: &SessionId) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        match cell.said() {
            Said::Nothing => {}
            Said::Ready(listeners) => {
                if let Ok(launcher) = &mut self.launcher {
                    launcher.prepared.postpone();
                }
                cell.door.listeners = listeners;
                self.egress.admit(session, &cell.door);
                let State::Starting { is_spare, walls_stand, .. } = &mut cell.state else { return };
                *walls_stand = true;
                if *is_spare && !self.files.give_spare(session) {
                    return self.give_up(session, "its folders could not be given to it");
                }
                self.furnish(session);
            }
            Said::Failed(reason) => self.give_up(session, &reason),
            Said::Gone => self.give_up(session, "the hand ended without a word"),
        }
    }

    /// A sandbox is as it is to be: those who wait for it are connected to it.
    pub(super) fn serve_waiting(&mut self, session: &SessionId) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        let State::Starting { waiting, .. } = &mut cell.state else { return };
        let waiting = std::mem::take(waiting);
        cell.state = State::Running;
        for waiter in waiting {
            let reason = "the hand does not take connections".to_owned();
            self.connect(waiter, session, After::Failed { waiter, reason });
        }
        self.take_turns(session);
    }

    /// Connects a waiter to a running sandbox. One that cannot be reached is ended first, and then comes `otherwise`.
    fn connect(&mut self, waiter: Waiter, session: &SessionId, otherwise: After) {
        match self.cells.get(session).map(Cell::connect) {
            Some(Ok(stream)) => {
                let sole_since = self.vacancies.sole_since(session);
                self.reply(waiter, Answer::Connected { sole_since }, Some(&stream));
            }
            Some(Err(error)) => {
                log(&format!("reach the hand of {session}: {error}"));
                self.kill(session, vec![otherwise]);
            }
            None => self.reply(waiter, Answer::Absent { sole_since: None }, None),
        }
    }

    /// Ends a sandbox and tells those who wait for it why.
    pub(super) fn give_up(&mut self, session: &SessionId, reason: &str) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        let waiting = match &mut cell.state {
            State::Starting { waiting, .. } => std::mem::take(waiting),
            State::Running | State::Ending { .. } => Vec::new(),
        };
        log(&format!("ended the sandbox of {session}: {reason}"));
        let after = waiting.into_iter().map(|waiter| After::Failed { waiter, reason: reason.to_owned() });
        self.kill(session, after.collect());
    }

    fn kill(&mut self, session: &SessionId, after: Vec<After>) {
        let Some(cell) = self.cells.get_mut(session) else { return };
        if let Err(error) = cell.child.kill() {
            log(&format!("kill the hand of {session}: {error}"));
        }
        // Takes the others along, and lets those die that stand still.
        if let Err(error) = cell.group.kill() {
            log(&format!("kill the processes of {session}: {error}"));
        }
        match &mut cell.state {
            State::Ending { after: former } => former.extend(after),
            State::Starting { waiting, .. } => {
                let reason = "the sandbox was ended";
                let failed =
                    waiting.drain(..).map(|waiter| After::Failed { waiter, reason: reason.to_owned() });
                let after = failed.chain(after).collect();
                cell.state = State::Ending { after };
            }
            State::Running => cell.state = State::Ending { after },
        }
    }

    /// A hand's process is over, and with it every process of its sandbox.
    pub(super) fn hand_ended(&mut self, session: &SessionId) {
        let Some(cell) = self.cells.get(session) else { return };
        let status = match cell.child.reap(false) {
            Ok(None) => return,
            Ok(Some(status)) => status,
            Err(error) => {
                log(&format!("learn how the hand of {session} ended: {error}"));
                0
            }
        };
        let reason = match cell.said() {
            Said::Failed(reason) => reason,
            Said::Ready(_) | Said::Nothing | Said::Gone => {
                format!("the hand ended with {status}")
            }
        };
        let Some(cell) = self.cells.remove(session) else { return };
        self.vacancies.ended(session);
        let Cell { child: _, control: _, group, range, state, .. } = cell;
        self.drop_changes(session);
        Volumes::rest(&self.files.folder(session));
        self.egress.close(session, false);
        self.tidy(group, range);
        match state {
            State::Starting { waiting, .. } => {
                for waiter in waiting {
                    self.fail(waiter, &reason);
                }
            }
            State::Running => log(&format!("the hand of {session} ended with {status}")),
            State::Ending { after } => {
                for after in after {
                    self.follow(session, after);
                }
            }
        }
        self.take_turns(session);
    }

    /// Removes the group of a hand that is gone, and frees its ids.
    pub(super) fn tidy(&mut self, group: Group, range: Option<Range>) {
        if let Ok(launcher) = &mut self.launcher {
            launcher.groups.retire(group);
            launcher.owners.give_back(range);
        }
    }

    fn freeze(&mut self, waiter: Waiter, session: &SessionId) {
        let is_frozen = match self.cells.get_mut(session) {
            Some(cell) if matches!(cell.state, State::Running) => {
                cell.is_frozen = cell.is_frozen || frozen(session, cell.group.freeze());
                cell.is_frozen
            }
            Some(_) | None => false,
        };
        self.reply(waiter, Answer::Frozen { is_frozen }, None);
    }

    fn tell_usage(&mut self, waiter: Waiter, session: &SessionId) {
        let usage = self.cells.get(session).zip(self.launcher.as_ref().ok()).map(|(cell, launcher)| {
            let disk = launcher.volumes.usage(&self.files.folder(session)).ok().flatten();
            Usage {
                is_frozen: cell.is_frozen,
                disk_bytes: disk.map(|disk| disk.bytes),
                disk_files: disk.map(|disk| disk.files),
                ..cell.group.usage()
            }
        });
        self.reply(waiter, Answer::Usage { usage }, None);
    }

    fn thaw(&mut self, session: &SessionId) {
        if let Some(cell) = self.cells.get_mut(session)
            && std::mem::take(&mut cell.is_frozen)
            && let Err(error) = cell.group.thaw()
        {
            log(&format!("let the sandbox of {session} go on: {error}"));
        }
    }

    fn follow(&mut self, session: &SessionId, after: After) {
        match after {
            After::Ended { waiter, keep_files } => self.ended(waiter, session, keep_files),
            After::Failed { waiter, reason } => self.fail(waiter, &reason),
            After::Provision { waiter, plan } => self.provision(waiter, plan),
        }
    }

    pub(super) fn fail(&mut self, waiter: Waiter, reason: &str) {
        let reason = reason.to_owned();
        let answer = if reason.starts_with(UNMAPPABLE) {
            let remedy = "put the data folder on ext4, xfs or btrfs under kernel 5.19 or newer, or run the server as \
                          another user than root";
            Answer::Unavailable { reason, remedy: remedy.to_owned() }
        } else {
            Answer::Failed { reason }
        };
        self.reply(waiter, answer, None);
    }
}

fn frozen(session: &SessionId, done: io::Result<()>) -> bool {
    match done {
        Ok(()) => true,
        Err(error) => {
            log(&format!("freeze the sandbox of {session}: {error}"));
            false
        }
    }
}
