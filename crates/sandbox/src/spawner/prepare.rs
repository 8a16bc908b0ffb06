//! What is made before anybody asks for it: a spare sandbox with its walls up, and a hand for any other.
//!
//! Sessions of one environment get the spare one. A session of another environment gets the hand, which was started, with
//! namespaces and groups, and waits to be told what it is to be.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use super::cell::Plan;
use super::cell::Said;
use super::cell::said;
use super::files::Files;
use super::launch::Launched;
use super::launch::Launcher;
use super::launch::Progress;
use super::launch::processes_max;
use super::log;
use super::volume::Volumes;
use crate::LayerName;
use crate::Limits;
use crate::Root;
use crate::wire::Kind;

/// How long preparing waits after a sandbox was asked for, and after its walls stand: the call that it is for shall have the
/// processors.
const PAUSE: Duration = Duration::from_millis(5);

/// What is ready.
#[derive(Debug)]
pub(super) struct Prepared {
    spare: Option<Spare>,
    /// A hand that waits for its specification.
    blank: Option<Launched>,
    /// Hands to be ended when nobody waits.
    unwanted: Vec<Launched>,
    /// What the last sandbox that was asked for was to be: the next one is likely to be the same.
    kind: Kind,
    /// When the next step is due. `None` after a failure, until the next sandbox is asked for.
    due: Option<Instant>,
}

/// A sandbox that nobody has asked for yet.
#[derive(Debug)]
struct Spare {
    launched: Launched,
    kind: Kind,
    is_up: bool,
}

impl Prepared {
    pub(super) fn new() -> Self {
        let kind = Kind {
            limits: Limits::default(),
            root: Root::default(),
            variables: BTreeMap::new(),
            has_network: true,
            makes_layer: false,
        };
        Self { spare: None, blank: None, unwanted: Vec::new(), kind, due: Some(Instant::now()) }
    }

    /// When something is to be prepared; `None` while all is.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_ready = self.spare.is_some() && self.blank.is_some() && self.unwanted.is_empty();
        self.due.filter(|_| !is_ready)
    }

    /// Leaves the processors to whoever has just asked for a sandbox or got it, for a moment.
    pub(super) fn postpone(&mut self) {
        self.due = Some(Instant::now() + PAUSE);
    }
}

impl Launcher {
    /// Takes one step of preparing, if one is due. Whoever asks meanwhile waits for one step only.
    pub(super) fn prepare(&mut self, files: &mut Files) -> io::Result<()> {
        let Some(due) = self.prepared.due().filter(|due| *due <= Instant::now()) else { return Ok(()) };
        self.prepared.due = None;
        if let Some(unwanted) = self.prepared.unwanted.pop() {
            self.undo(unwanted);
        } else if self.prepared.spare.is_none() {
            self.prepare_spare(files)?;
        } else {
            let limits = self.prepared.kind.limits;
            self.prepared.blank = Some(self.make(&limits)?);
        }
        self.prepared.due = Some(due);
        Ok(())
    }

    /// Makes a sandbox over empty folders, like the last one that was asked for.
    fn prepare_spare(&mut self, files: &mut Files) -> io::Result<()> {
        Volumes::release(files.spare());
        let own = files.prepare()?;
        let kind = self.prepared.kind.clone();
        let own = self.bound(own, &kind)?;
        let hand = self.hand(&kind.limits)?;
        let launched = self.begin(hand, files, own, &kind)?;
        self.prepared.spare = Some(Spare { launched, kind, is_up: false });
        Ok(())
    }

    /// The spare sandbox if it is fit for a session. Otherwise it stays for another, or goes.
    pub(super) fn take_spare(&mut self, files: &Files, plan: &Plan) -> Option<Launched> {
        self.prepared.postpone();
        if self.prepared.kind != plan.kind {
            self.prepared.kind = plan.kind.clone();
        }
        let mut spare = self.prepared.spare.take()?;
        if !spare.is_up {
            match said(spare.launched.control.as_fd()) {
                Said::Ready(listeners) => {
                    spare.launched.listeners = listeners;
                    spare.is_up = true;
                }
                Said::Nothing => {}
                Said::Failed(_) | Said::Gone => {
                    log("the spare sandbox has gone");
                    self.prepared.unwanted.push(spare.launched);
                    return None;
                }
            }
        }
        if spare.kind != plan.kind {
            self.prepared.unwanted.push(spare.launched);
            return None;
        }
        // A session may have folders of its own. While the walls are being raised the spare ones stay where they are.
        let (is_given, progress) = if spare.is_up {
            (files.give_spare(&plan.session), Progress::Up)
        } else {
            (!files.has(&plan.session), Progress::Spare)
        };
        if is_given {
            return Some(Launched { progress, ..spare.launched });
        }
        self.prepared.spare = Some(spare);
        None
    }

    /// A hand that waits for its specification: the one that was prepared, if it is still alive and has the right bound on
    /// its processes, which it was born with.
    pub(super) fn hand(&mut self, limits: &Limits) -> io::Result<Launched> {
        let Some(blank) = self.prepared.blank.take() else { return self.make(limits) };
        let bound = blank.range.as_ref().map(|range| range.processes_max);
        let is_fit = bound.is_none_or(|bound| bound == processes_max(limits));
        if is_fit && matches!(blank.child.reap(false), Ok(None)) {
            return Ok(blank);
        }
        self.prepared.unwanted.push(blank);
        self.make(limits)
    }

    /// Gives the spare sandbox up if it stands on a layer that goes, and makes none there.
    pub(super) fn forget_layer(&mut self, layer: &LayerName) {
        let stands = |kind: &Kind| kind.root.layers.contains(layer);
        if let Some(spare) = self.prepared.spare.take_if(|spare| stands(&spare.kind)) {
            self.undo(spare.launched);
        }
        if stands(&self.prepared.kind) {
            self.prepared.due = None;
        }
    }

    /// Gives up what was prepared, for the end.
    pub(super) fn give_up_prepared(&mut self) {
        let Prepared { spare, blank, unwanted, .. } = &mut self.prepared;
        let mut all = std::mem::take(unwanted);
        all.extend(spare.take().map(|spare| spare.launched));
        all.extend(blank.take());
        for launched in all {
            self.undo(launched);
        }
    }
}
