//! Workers that pack and unpack layers: hands in a jail of one folder, watched like sandboxes but named by a number.
//!
//! Layers come from anywhere, so nobody but such a worker reads one. What it unpacked is put in its place when it has
//! ended well, and thrown away otherwise.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use api::ids::SessionId;
use hand::layer::Work as Order;
use hand::protocol::control;

use super::cell::Waiter;
use super::launch::Launched;
use super::log;
use super::serve::Spawner;
use super::volume::Volumes;
use crate::LayerName;
use crate::Limits;
use crate::Place;
use crate::sys::socket;
use crate::wire::Answer;

/// Workers at once. Each may use a whole processor.
const WORKERS_MAX: usize = 4;
/// Ends of workers that are remembered for those who ask later.
const ENDS_MAX: usize = 256;
/// Bounds on what one layer may hold: more than any image, less than what fills a disk unnoticed.
const LAYER_LIMITS: hand::layer::Limits =
    hand::layer::Limits { bytes_max: 64 << 30, entries_max: 4_000_000, path_bytes_max: 4096 };

/// How many times its bounds the files of a session may hold. A disk that is watched can be overfilled before anybody
/// looks, and what was written then comes back, too.
const EXCESS: u64 = 2;
/// Bytes of an archive that an entry takes besides its content.
const ENTRY_BYTES: u64 = 2048;

/// The workers, and how the last ones ended.
#[derive(Debug, Default)]
pub(super) struct Works {
    last: u64,
    running: BTreeMap<u64, Work>,
    ended: BTreeMap<u64, Result<(), String>>,
}

#[derive(Debug)]
struct Work {
    launched: Launched,
    task: Task,
    waiting: Vec<Waiter>,
}

/// What a worker does.
#[derive(Clone, Debug)]
enum Task {
    Pack(SessionId),
    Unpack(Place),
}

impl Works {
    /// Whether a worker is at the files of a session.
    pub(super) fn is_on(&self, session: &SessionId) -> bool {
        self.running.values().any(|work| match &work.task {
            Task::Pack(other) | Task::Unpack(Place::Files { session: other, limits: _ }) => other == session,
            Task::Unpack(Place::Layer(_)) => false,
        })
    }

    /// The processes to watch.
    pub(super) fn running(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.running.iter().map(|(number, work)| (*number, work.launched.child.fd.as_fd()))
    }

    fn note(&mut self, number: u64, end: Result<(), String>) {
        while self.ended.len() >= ENDS_MAX {
            self.ended.pop_first();
        }
        self.ended.insert(number, end);
    }
}

impl Spawner {
    pub(super) fn pack(&mut self, waiter: Waiter, session: SessionId) {
        if self.cells.contains_key(&session) || self.works.is_on(&session) {
            return self.fail(waiter, "its sandbox runs");
        }
        if !self.files.has_written(&session) {
            return self.fail(waiter, "it has no files here");
        }
        match self.written(&session) {
            Ok(folder) => self.work(waiter, Task::Pack(session), folder, Order::Pack),
            Err(error) => self.fail(waiter, &format!("reach its files: {error}")),
        }
    }

    pub(super) fn unpack(&mut self, waiter: Waiter, place: Place) {
        if let Place::Files { session, limits: _ } = &place
            && (self.cells.contains_key(session) || self.works.is_on(session))
        {
            return self.fail(waiter, "its sandbox runs");
        }
        match self.files.receive(self.works.last + 1, &place) {
            Ok(folder) => {
                let limits = bounds(&place);
                self.work(waiter, Task::Unpack(place), folder, Order::Unpack { limits });
            }
            Err(error) => self.fail(waiter, &format!("make a folder to unpack into: {error}")),
        }
    }

    /// Where what a session wrote can be read, for as long as nobody lets it rest.
    fn written(&mut self, session: &SessionId) -> io::Result<PathBuf> {
        let folder = self.files.folder(session);
        match &mut self.launcher {
            Ok(launcher) => {
                launcher.volumes.prepare(&folder, &Limits::default()).map(|own| own.join("upper"))
            }
            Err(_) => Ok(folder.join("upper")),
        }
    }

    fn work(&mut self, waiter: Waiter, task: Task, folder: PathBuf, order: Order) {
        match self.employ(folder, order) {
            Ok((launched, stream)) => {
                self.works.last += 1;
                let number = self.works.last;
                self.works.running.insert(number, Work { launched, task, waiting: Vec::new() });
                self.reply(waiter, Answer::Working { work: number }, Some(&stream));
            }
            Err(answer) => {
                self.abandon(self.works.last + 1, &task);
                self.reply(waiter, answer, None);
            }
        }
    }

    /// Starts a worker; answers it and our end of its stream.
    fn employ(&mut self, folder: PathBuf, order: Order) -> Result<(Launched, OwnedFd), Answer> {
        let failed = |error: io::Error| Answer::Failed { reason: error.to_string() };
        let launcher = self.launcher.as_mut().map_err(|unavailable| {
            let (reason, remedy) = (unavailable.reason.clone(), unavailable.remedy.clone());
            Answer::Unavailable { reason, remedy }
        })?;
        if self.works.running.len() >= WORKERS_MAX {
            return Err(failed(io::Error::other("too many layers are being packed or unpacked")));
        }
        let launched = launcher.employ(&self.files, folder, order).map_err(failed)?;
        match give_stream(&launched) {
            Ok(stream) => Ok((launched, stream)),
            Err(error) => {
                launcher.undo(launched);
                Err(failed(error))
            }
        }
    }

    /// Puts what a worker unpacked in its place. What was there goes.
    fn settle(&mut self, number: u64, place: &Place) -> Result<(), String> {
        if let Place::Files { session, limits: _ } = place {
            Volumes::release(&self.files.folder(session));
        }
        self.trash.note();
        self.files.settle(number, place).map_err(|error| error.to_string())
    }

    /// What a worker was to do is not done, and leaves nothing.
    fn abandon(&mut self, number: u64, task: &Task) {
        match task {
            Task::Pack(session) => Volumes::rest(&self.files.folder(session)),
            Task::Unpack(_) => {
                if let Err(error) = self.files.reject(number) {
                    log(&format!("give up what worker {number} unpacked: {error}"));
                }
                self.trash.note();
            }
        }
    }

    /// A worker's process is over.
    pub(super) fn work_ended(&mut self, number: u64) {
        let Some(work) = self.works.running.get(&number) else { return };
        let status = match work.launched.child.reap(false) {
            Ok(None) => return,
            Ok(Some(status)) => status,
            Err(error) => {
                log(&format!("learn how worker {number} ended: {error}"));
                -1
            }
        };
        let Some(Work { launched, task, waiting }) = self.works.running.remove(&number) else { return };
        let said = super::cell::said(launched.control.as_fd());
        let end = match (status, &task) {
            (0, Task::Unpack(place)) => self.settle(number, place),
            (0, Task::Pack(_)) => Ok(()),
            (status, Task::Pack(_) | Task::Unpack(_)) => {
                Err(format!("the worker ended with {status}: {said:?}"))
            }
        };
        if end.is_err() || matches!(task, Task::Pack(_)) {
            self.abandon(number, &task);
        }
        let Launched { child: _, control: _, group, range, progress: _, listeners: _ } = launched;
        self.tidy(group, range);
        for waiter in waiting {
            self.tell_end(waiter, &end);
        }
        self.works.note(number, end);
    }

    pub(super) fn await_work(&mut self, waiter: Waiter, number: u64) {
        if let Some(work) = self.works.running.get_mut(&number) {
            return work.waiting.push(waiter);
        }
        match self.works.ended.remove(&number) {
            Some(end) => self.tell_end(waiter, &end),
            None => self.fail(waiter, "no such worker is known"),
        }
    }

    fn tell_end(&mut self, waiter: Waiter, end: &Result<(), String>) {
        match end {
            Ok(()) => self.reply(waiter, Answer::Ended, None),
            Err(reason) => self.fail(waiter, reason),
        }
    }

    pub(super) fn commit(&mut self, waiter: Waiter, session: &SessionId, layer: &LayerName) {
        if self.cells.contains_key(session) || self.works.is_on(session) {
            return self.fail(waiter, "its sandbox runs");
        }
        let committed = self.files.commit(session, layer).map_err(|error| error.to_string());
        self.trash.note();
        self.tell_end(waiter, &committed);
    }

    pub(super) fn remove_layer(&mut self, waiter: Waiter, layer: &LayerName) {
        if self.cells.values().any(|cell| cell.kind.root.layers.contains(layer)) {
            return self.fail(waiter, "a sandbox stands on it");
        }
        if let Ok(launcher) = &mut self.launcher {
            launcher.forget_layer(layer);
        }
        let removed = self.files.discard_layer(layer).map_err(|error| error.to_string());
        self.trash.note();
        self.tell_end(waiter, &removed);
    }

    pub(super) fn tell_layers(&mut self, waiter: Waiter, after: Option<&LayerName>) {
        match self.files.layers(after) {
            Ok(layers) => self.reply(waiter, Answer::Layers { layers }, None),
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }

    pub(super) fn tell_kept(&mut self, waiter: Waiter, after: Option<&SessionId>) {
        match self.files.kept(after) {
            Ok(sessions) => self.reply(waiter, Answer::Sessions { sessions }, None),
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }

    /// Ends the workers, for the end.
    pub(super) fn dismiss_workers(&mut self) {
        for work in std::mem::take(&mut self.works.running).into_values() {
            if let Ok(launcher) = &mut self.launcher {
                launcher.undo(work.launched);
            }
        }
    }
}

/// What may be unpacked in a place.
fn bounds(place: &Place) -> hand::layer::Limits {
    match place {
        Place::Layer(_) => LAYER_LIMITS,
        Place::Files { session: _, limits } => {
            let entries = limits.disk_files_max.saturating_mul(EXCESS);
            let content = limits.disk_bytes_max.saturating_mul(EXCESS);
            hand::layer::Limits {
                bytes_max: content
                    .saturating_add(entries.saturating_mul(ENTRY_BYTES))
                    .min(LAYER_LIMITS.bytes_max),
                entries_max: entries.min(LAYER_LIMITS.entries_max),
                ..LAYER_LIMITS
            }
        }
    }
}

/// The stream that a worker reads or writes its layer on: our end. It finds its own as soon as its walls stand.
fn give_stream(launched: &Launched) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket::stream_pair()?;
    socket::send(launched.control.as_fd(), &[control::ADOPT], &[theirs.as_fd()])?;
    Ok(ours)
}
