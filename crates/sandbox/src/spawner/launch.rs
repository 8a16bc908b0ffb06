//! Starting one sandbox: its folders, groups, ids, and the hand with its specification.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use hand::confine;
use hand::confine::Bind;
use hand::confine::Spec;
use hand::layer::LayerSpec;
use hand::layer::Work;
use hand::start::Start as Order;

use super::base;
use super::cell::Plan;
use super::files::Files;
use super::files::SessionFiles;
use super::group::Group;
use super::group::Groups;
use super::host;
use super::host::Unavailable;
use super::log;
use super::owners::Owners;
use super::owners::Range;
use super::prepare::Prepared;
use super::volume::Choice;
use super::volume::Volumes;
use crate::Base;
use crate::Limits;
use crate::Mode;
use crate::Root;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::process::Maps;
use crate::sys::process::Start;
use crate::sys::socket;
use crate::wire::Kind;

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
    pub(super) volumes: Volumes,
    program: OwnedFd,
    pub(super) prepared: Prepared,
    /// Names the control groups.
    made: u64,
}

/// How far a hand has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It raises its walls, over the folders of its session.
    Own,
    /// It raises its walls, over the spare folders.
    Spare,
    /// Its walls stand, over the folders of its session.
    Up,
}

/// A hand that was started: it raises its walls now or has done so.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) control: OwnedFd,
    pub(super) group: Group,
    pub(super) range: Option<Range>,
    pub(super) progress: Progress,
    /// What it handed over when its walls stood.
    pub(super) listeners: Vec<OwnedFd>,
}

impl Launcher {
    pub(super) fn new(mode: Mode, data_dir: &Path, disk: Choice) -> io::Result<Result<Self, Unavailable>> {
        let (groups, seed) = host::groups(data_dir)?;
        let volumes = match Volumes::probe(data_dir, disk, mode, seed) {
            Ok(volumes) => volumes,
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        let program = process::sealed_program(crate::HAND)?;
        Ok(Ok(Self {
            mode,
            owners: Owners::new(mode, seed),
            groups,
            volumes,
            program,
            prepared: Prepared::new(),
            made: 0,
        }))
    }

    /// Starts a sandbox: its hand raises the walls from now on, or has done so already.
    pub(super) fn launch(&mut self, files: &Files, plan: &Plan) -> io::Result<Launched> {
        if let Some(launched) = self.take_spare(files, plan) {
            return Ok(launched);
        }
        let own = self.bound(files.session(&plan.session)?, &plan.kind)?;
        let hand = self.hand(&plan.kind.limits)?;
        self.begin(hand, files, own, &plan.kind)
    }

    /// Bounds what is written to a session's folders, before the hand is told what it is to be: it sees what is mounted then.
    /// What is to become a layer stays where the layers are, and is watched.
    pub(super) fn bound(&mut self, own: SessionFiles, kind: &Kind) -> io::Result<SessionFiles> {
        if kind.makes_layer {
            return Ok(own);
        }
        Ok(SessionFiles { writable: self.volumes.prepare(&own.writable, &kind.limits)?, ..own })
    }

    pub(super) fn begin(
        &mut self,
        launched: Launched,
        files: &Files,
        own: SessionFiles,
        kind: &Kind,
    ) -> io::Result<Launched> {
        let order = self.spec(files, own, kind, launched.range.as_ref()).map(Order::Sandbox);
        self.instruct(launched, &kind.limits, order)
    }

    /// Tells a hand that waits what it is to be, within bounds. One that cannot be told is ended.
    fn instruct(
        &mut self,
        launched: Launched,
        limits: &Limits,
        order: io::Result<Order>,
    ) -> io::Result<Launched> {
        let told = launched
            .group
            .limit(limits)
            .and(order)
            .and_then(|order| socket::send(launched.control.as_fd(), &serde_json::to_vec(&order)?, &[]));
        match told {
            Ok(()) => Ok(launched),
            Err(error) => {
                self.undo(launched);
                Err(error)
            }
        }
    }

    /// A new hand that waits for its specification, in groups without limits yet.
    pub(super) fn make(&mut self, limits: &Limits) -> io::Result<Launched> {
        self.made += 1;
        let mut group = self.groups.make(&self.made.to_string())?;
        let range = match self.owners.take(processes_max(limits)) {
            Ok(range) => range,
            Err(error) => {
                group.remove();
                return Err(error);
            }
        };
        match self.start(range.as_ref(), &group) {
            Ok((child, control)) => {
                Ok(Launched { child, control, group, range, progress: Progress::Own, listeners: Vec::new() })
            }
            Err(error) => {
                group.remove();
                self.owners.give_back(range);
                Err(error)
            }
        }
    }

    /// Starts a hand that packs or unpacks a layer.
    pub(super) fn employ(&mut self, files: &Files, folder: PathBuf, work: Work) -> io::Result<Launched> {
        let limits = Limits::default();
        let launched = self.make(&limits)?;
        let identity = self.owners.identity(launched.range.as_ref());
        let order = Order::Layer(LayerSpec { identity, stage: files.stage.clone(), folder, work });
        self.instruct(launched, &limits, Ok(order))
    }

    /// Ends a hand that was not used.
    pub(super) fn undo(&mut self, launched: Launched) {
        let Launched { child, control: _, group, range, progress: _, listeners: _ } = launched;
        if child.kill().and_then(|()| child.reap(true)).is_err() {
            log("a hand that was not used has gone by itself");
        }
        self.owners.give_back(range);
        self.groups.retire(group);
    }

    fn start(&self, range: Option<&Range>, group: &Group) -> io::Result<(Child, OwnedFd)> {
        let (control, theirs) = socket::message_pair()?;
        let (awaited, mut go) = io::pipe()?;
        let maps = match &self.owners {
            Owners::Ranges { .. } => Maps::None,
            Owners::Subordinate(_) => Maps::Awaited(awaited.as_fd()),
            Owners::Single { users, groups } => Maps::Own { users, groups },
        };
        let entries = group.entries()?;
        let child = process::start(&Start {
            program: self.program.as_fd(),
            control: theirs.as_fd(),
            user_namespace: range.map(|range| range.namespace.as_fd()),
            group: group.unified(),
            entries: &entries,
            namespaces: host::namespaces(self.mode),
            maps,
        })?;
        let settled = (|| {
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

    fn spec(&self, files: &Files, own: SessionFiles, kind: &Kind, range: Option<&Range>) -> io::Result<Spec> {
        let Kind { limits, root, variables, has_network, makes_layer: _ } = kind;
        let (mut binds, overlays) = match root.base {
            Base::Host => (base::binds(), base::overlays()),
            Base::Empty | Base::Directory(_) => (Vec::new(), Vec::new()),
        };
        binds.push(Bind {
            source: own.uploads,
            target: "/mnt/session/uploads".into(),
            is_writable: false,
            may_be_unmapped: false,
        });
        let memory = limits.memory_bytes_max;
        Ok(Spec {
            identity: self.owners.identity(range),
            stage: files.stage.clone(),
            lowers: lowers(files, root)?,
            writable: own.writable,
            binds,
            overlays,
            writes_names: !matches!(root.base, Base::Host),
            shared_memory_bytes_max: memory / SHARED_MEMORY_DIVISOR,
            processes_max: processes_max(limits),
            data_bytes_max: (!self.groups.has_memory()).then_some(memory),
            file_bytes_max: self.volumes.file_bytes_max(limits),
            has_network: *has_network,
            variables: environment(variables, *has_network),
        })
    }
}

/// The bound on processes besides that of the control group.
pub(super) fn processes_max(limits: &Limits) -> u64 {
    u64::from(limits.processes_max) + PROCESSES_SLACK
}

/// The environment of shells and tools. Most programs ask their proxy when they are told of one, and then know why they
/// were refused; the others are caught all the same.
pub(crate) fn environment(own: &BTreeMap<String, String>, has_network: bool) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if has_network {
        let proxy = format!("127.0.0.1:{}", confine::network::PROXY_PORT);
        let pairs = [
            ("http_proxy", format!("http://{proxy}")),
            ("https_proxy", format!("http://{proxy}")),
            ("all_proxy", format!("socks5h://{proxy}")),
            ("no_proxy", "localhost,127.0.0.1,::1".to_owned()),
        ];
        for (name, value) in pairs {
            all.push((name.to_uppercase(), value.clone()));
            all.push((name.to_owned(), value));
        }
    }
    all.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The folders that a root is made of, from the top down.
fn lowers(files: &Files, root: &Root) -> io::Result<Vec<PathBuf>> {
    let mut lowers = Vec::with_capacity(root.layers.len() + 1);
    for layer in root.layers.iter().rev() {
        lowers
            .push(files.layer(layer).ok_or_else(|| io::Error::other(format!("layer {layer} is not here")))?);
    }
    match &root.base {
        Base::Host => lowers.push(files.base.clone()),
        Base::Directory(folder) => lowers.push(folder.canonicalize()?),
        Base::Empty if lowers.is_empty() => {
            return Err(io::Error::other("its root file system has no layers"));
        }
        Base::Empty => {}
    }
    Ok(lowers)
}
