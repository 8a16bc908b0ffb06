//! What this process knows of the sandbox of one session, and who may touch it.
//!
//! Calls count themselves in and out. Whoever ends, freezes, packs or restores holds the gate and shuts the seat, which
//! only works while no call is counted; a call that finds it shut waits at the gate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::emitted::text_block;
use api::ids::SessionId;
use api::time::Clock;
use api::time::Timestamp;
use sandbox::Outcome;
use sandbox::Root;
use tokio::sync::Notify;

use crate::limits;

/// The place of one session.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) session: SessionId,
    pub(super) gate: tokio::sync::Mutex<()>,
    /// A call has come.
    pub(super) called: Notify,
    facts: Mutex<Facts>,
}

/// What is known.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The session's key in the store, once it is known.
    pub(super) key: Option<i64>,
    /// Calls under way.
    pub(super) calls: usize,
    /// When the last one ended.
    pub(super) last: Timestamp,
    /// Its files are here and the newest: calls go straight to the back end.
    pub(super) is_ready: bool,
    /// This process has said what the sandbox is to be, so one that it is connected to is as it should be.
    pub(super) is_specified: bool,
    /// Whether it runs, as far as is known.
    pub(super) is_running: bool,
    /// Whether it was frozen, once that was tried.
    pub(super) frozen: Option<bool>,
    /// What it stands on, when that is settled.
    pub(super) root: Option<Root>,
    /// Nobody has noted yet that it is made.
    pub(super) is_unnoted: bool,
    /// What the next call is to tell the model.
    pub(super) notice: Option<String>,
    /// A worker may still be at its files although nobody waits for it any more.
    pub(super) is_restless: bool,
    /// Checkpoints that failed in a row, and when the next may be tried.
    pub(super) failures: u32,
    pub(super) retry_at: Timestamp,
}

impl Seat {
    fn new(session: SessionId, now: Timestamp) -> Self {
        let facts = Facts {
            key: None,
            calls: 0,
            last: now,
            is_ready: false,
            is_specified: false,
            is_running: false,
            frozen: None,
            root: None,
            is_unnoted: false,
            notice: None,
            is_restless: false,
            failures: 0,
            retry_at: now,
        };
        Self { session, gate: tokio::sync::Mutex::default(), called: Notify::new(), facts: Mutex::new(facts) }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls may go straight to the back end, and what its sandbox stands on.
    pub(crate) fn readiness(&self) -> Option<Root> {
        let facts = self.facts();
        facts.root.clone().filter(|_| facts.is_ready)
    }

    /// Whether calls may go straight to a sandbox that this process is connected to.
    pub(crate) fn is_warm(&self) -> bool {
        let facts = self.facts();
        facts.is_ready && facts.is_specified
    }

    /// Keeps calls out until the gate is free. False, and nothing is changed, while a call is under way.
    pub(super) fn shut(&self) -> bool {
        let mut facts = self.facts();
        let is_free = facts.calls == 0;
        if is_free {
            facts.is_ready = false;
        }
        is_free
    }

    /// It runs as this process has specified it, as a call has found out.
    pub(crate) fn note_running(&self) {
        let mut facts = self.facts();
        facts.is_specified = true;
        facts.is_running = true;
        facts.frozen = None;
        facts.is_restless = false;
    }

    pub(crate) fn is_restless(&self) -> bool {
        self.facts().is_restless
    }
}

/// A sandbox in use. Dropping it lets the sandbox idle.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) seat: Arc<Seat>,
    clock: Clock,
}

impl Held {
    /// The outcome, with what the model has to know of the sandbox before it.
    pub(crate) fn tell(&self, mut outcome: Outcome) -> Outcome {
        if let Some(notice) = self.seat.facts().notice.take() {
            outcome.content.insert(0, text_block(&notice));
        }
        outcome
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut facts = self.seat.facts();
        facts.calls -= 1;
        facts.last = now;
    }
}

/// The seats of the sessions that were in use lately. Those in use or running are never forgotten.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<HashMap<SessionId, Arc<Seat>>>);

impl Seats {
    /// Counts a call in.
    pub(crate) fn hold(&self, session: &SessionId, key: i64, clock: &Clock) -> Held {
        let seat = self.seat(session, clock.now());
        {
            let mut facts = seat.facts();
            facts.calls += 1;
            facts.key = Some(key);
        }
        seat.called.notify_waiters();
        Held { seat, clock: clock.clone() }
    }

    /// The seat of a session, made if there is none.
    pub(crate) fn seat(&self, session: &SessionId, now: Timestamp) -> Arc<Seat> {
        let mut seats = self.all();
        if let Some(seat) = seats.get(session) {
            return Arc::clone(seat);
        }
        if seats.len() >= limits::SEATS_MAX {
            forget(&mut seats);
        }
        let seat = Arc::new(Seat::new(session.clone(), now));
        seats.insert(session.clone(), Arc::clone(&seat));
        seat
    }

    pub(super) fn find(&self, session: &SessionId) -> Option<Arc<Seat>> {
        self.all().get(session).map(Arc::clone)
    }

    /// The seats of which this is true.
    pub(super) fn with(&self, is_wanted: impl Fn(&Facts) -> bool) -> Vec<Arc<Seat>> {
        self.all().values().filter(|seat| is_wanted(&seat.facts())).map(Arc::clone).collect()
    }

    pub(super) fn remove(&self, session: &SessionId) {
        self.all().remove(session);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Seat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the half that was out of use for the longest time.
fn forget(seats: &mut HashMap<SessionId, Arc<Seat>>) {
    let mut idle: Vec<(Timestamp, SessionId)> = seats
        .values()
        .filter(|seat| Arc::strong_count(seat) == 1)
        .filter_map(|seat| {
            let facts = seat.facts();
            // A notice is kept for the call that it is meant for.
            let is_idle = facts.calls == 0 && !facts.is_running && facts.notice.is_none();
            is_idle.then(|| (facts.last, seat.session.clone()))
        })
        .collect();
    idle.sort_unstable();
    for (_, session) in idle.into_iter().take(limits::SEATS_MAX / 2) {
        seats.remove(&session);
    }
}
