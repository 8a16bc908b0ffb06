//! Starting one sandbox: its folders, groups, ids, and the hand with its specification.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use hand::confine::Bind;
use hand::confine::Spec;

use super::base;
use super::cell::Plan;
use super::files::Files;
use super::group::Group;
use super::group::Groups;
use super::host;
use super::log;
use super::owners::Owners;
use super::owners::Range;
use crate::Mode;
use crate::Root;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::process::Maps;
use crate::sys::process::Start;
use crate::sys::socket;

/// Part of a sandbox's memory that `/dev/shm` may take; a full one must not starve the processes.
const SHARED_MEMORY_DIVISOR: u64 = 8;
/// Processes above the bound of the control group that the resource limit leaves, so that the group's bound is the one met.
const PROCESSES_SLACK: u64 = 64;

/// Everything that making sandboxes takes.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) mode: Mode,
    pub(super) owners: Owners,
    pub(super) groups: Groups,
    program: OwnedFd,
    spare: Option<Launched>,
    /// Names the control groups.
    made: u64,
}

/// A hand that was started and raises its walls now.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) control: OwnedFd,
    pub(super) group: Group,
    pub(super) range: Option<Range>,
    /// Whether it was started before anybody asked for it.
    pub(super) is_spare: bool,
}

impl Launcher {
    pub(super) fn new(mode: Mode, data_dir: &Path) -> io::Result<Self> {
        let (groups, seed) = host::groups(data_dir)?;
        let program = process::sealed_program(crate::HAND)?;
        Ok(Self { mode, owners: Owners::new(mode, seed), groups, program, spare: None, made: 0 })
    }

    /// Starts a hand for a sandbox that nobody has asked for yet: what does not depend on the session is behind it when
    /// somebody does. Most of that time goes to the kernel's bookkeeping for control groups.
    pub(super) fn prepare(&mut self, files: &Files) -> io::Result<()> {
        if self.spare.is_none() {
            files.prepare()?;
            self.spare = Some(Launched { is_spare: true, ..self.make()? });
        }
        Ok(())
    }

    /// Gives the spare hand up, for the end.
    pub(super) fn give_up_spare(&mut self) -> Option<Group> {
        self.spare.take().and_then(|spare| self.undo(spare))
    }

    /// Starts a sandbox: its hand raises the walls from now on.
    pub(super) fn launch(&mut self, files: &Files, plan: &Plan) -> io::Result<Launched> {
        if let Some(spare) = self.spare.take() {
            // One that is just dying shows it later.
            match self.begin(spare, files, plan) {
                Ok(launched) => return Ok(launched),
                Err(error) => log(&format!("use the spare hand: {error}")),
            }
        }
        let launched = self.make()?;
        self.begin(launched, files, plan)
    }

    fn begin(&mut self, launched: Launched, files: &Files, plan: &Plan) -> io::Result<Launched> {
        let begun = (|| {
            launched.group.limit(&plan.limits)?;
            let spec = serde_json::to_vec(&self.spec(files, plan, launched.range.as_ref())?)?;
            socket::send(launched.control.as_fd(), &spec, None)
        })();
        match begun {
            Ok(()) => Ok(launched),
            Err(error) => {
                self.undo(launched);
                Err(error)
            }
        }
    }

    /// A hand that waits for its specification, in groups without limits.
    fn make(&mut self) -> io::Result<Launched> {
        self.made += 1;
        let mut group = self.groups.make(&self.made.to_string())?;
        let range = match self.owners.take() {
            Ok(range) => range,
            Err(error) => {
                group.remove();
                return Err(error);
            }
        };
        match self.start(range.as_ref(), &group) {
            Ok((child, control)) => Ok(Launched { child, control, group, range, is_spare: false }),
            Err(error) => {
                group.remove();
                self.owners.give_back(range);
                Err(error)
            }
        }
    }

    /// Ends a hand that was not used. Answers its group if that cannot be removed yet.
    fn undo(&mut self, launched: Launched) -> Option<Group> {
        let Launched { child, control: _, mut group, range, is_spare: _ } = launched;
        if child.kill().and_then(|()| child.reap(true)).is_err() {
            log("a hand that was not used has gone by itself");
        }
        self.owners.give_back(range);
        (!group.remove()).then_some(group)
    }

    fn start(&self, range: Option<&Range>, group: &Group) -> io::Result<(Child, OwnedFd)> {
        let (control, theirs) = socket::message_pair()?;
        let (awaited, mut go) = io::pipe()?;
        let maps = match &self.owners {
            Owners::Ranges { .. } => Maps::None,
            Owners::Subordinate(_) => Maps::Awaited(awaited.as_fd()),
            Owners::Single { users, groups } => Maps::Own { users, groups },
        };
        let child = process::start(&Start {
            program: self.program.as_fd(),
            control: theirs.as_fd(),
            user_namespace: range.map(|range| range.namespace.as_fd()),
            group: group.unified(),
            namespaces: host::namespaces(self.mode),
            maps,
        })?;
        let settled = (|| {
            group.take_in(child.pid)?;
            if let Owners::Subordinate(subordinate) = &self.owners {
                subordinate.map(child.pid)?;
                go.write_all(b"m")?;
            }
            Ok(())
        })();
        if let Err(error) = settled {
            child.kill()?;
            child.reap(true)?;
            return Err(error);
        }
        Ok((child, control))
    }

    fn spec(&self, files: &Files, plan: &Plan, range: Option<&Range>) -> io::Result<Spec> {
        let own = files.session(&plan.session)?;
        let mut binds = match &plan.root {
            Root::Host => base::binds(),
            Root::Directory(_) => Vec::new(),
        };
        binds.push(Bind {
            source: own.uploads,
            target: "/mnt/session/uploads".into(),
            is_writable: false,
            may_be_unmapped: false,
        });
        let memory = plan.limits.memory_bytes_max;
        Ok(Spec {
            identity: self.owners.identity(range),
            stage: files.stage.clone(),
            lower: match &plan.root {
                Root::Host => files.base.clone(),
                Root::Directory(folder) => folder.canonicalize()?,
            },
            writable: own.writable,
            binds,
            writes_names: matches!(plan.root, Root::Directory(_)),
            shared_memory_bytes_max: memory / SHARED_MEMORY_DIVISOR,
            processes_max: u64::from(plan.limits.processes_max) + PROCESSES_SLACK,
            data_bytes_max: (!self.groups.has_memory()).then_some(memory),
        })
    }
}
