//! Turns what the brain wants written into entries, and writes them.

use std::collections::HashSet;
use std::sync::Arc;

use api::emitted::Emitted;
use api::entry::NewEntry;
use api::entry::raw;
use api::environments::SessionEnvironment;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::sessions::Progress;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use api::usage::SessionUsage;
use store::Append;
use store::Fence;
use store::Patch;
use store::ThreadChange;
use store::Waiting;
use store::Wants;

use super::rested::Rested;
use crate::Inner;
use crate::brain::Content;
use crate::brain::Draft;
use crate::brain::State;
use crate::crash;
use crate::limits;
use crate::telemetry::Turns;

/// The state of one session and the entries that it has and the store has not.
pub(crate) struct Journal {
    inner: Arc<Inner>,
    pub(crate) key: i64,
    pub(crate) session: SessionId,
    pub(crate) thread: ThreadId,
    pub(crate) environment: Arc<SessionEnvironment>,
    epoch: i64,
    pub(crate) state: State,
    /// Last position that was read from or written to the store.
    head: i64,
    unwritten: Vec<NewEntry>,
    turns: Turns,
}

/// What became of [`Journal::write`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The lease is still ours.
    Kept,
    /// The session is at rest and its lease was given back. The journal is spent.
    Released,
}

impl Journal {
    /// Folds what the log has after the place where the session rested.
    pub(crate) async fn open(inner: Arc<Inner>, rested: Rested, epoch: i64) -> Result<Self, store::Error> {
        let Rested { key, session, thread, environment, state, head } = rested;
        let unwritten = Vec::new();
        let turns = Turns::default();
        let mut journal =
            Self { inner, key, session, thread, environment, epoch, state, head, unwritten, turns };
        journal.read_news().await?;
        Ok(journal)
    }

    /// The session at rest.
    fn rest(&mut self) -> Rested {
        let state = std::mem::replace(&mut self.state, State::new(self.inner.parts.policy));
        let (session, thread) = (self.session.clone(), self.thread.clone());
        let environment = Arc::clone(&self.environment);
        Rested { key: self.key, session, thread, environment, state, head: self.head }
    }

    /// Applies what others appended since.
    pub(crate) async fn read_news(&mut self) -> Result<(), store::Error> {
        self.read_until(i64::MAX).await
    }

    async fn read_until(&mut self, end: i64) -> Result<(), store::Error> {
        loop {
            let entries =
                self.inner.parts.store.entries(self.key, self.head, limits::ENTRIES_PER_READ_MAX).await?;
            let is_last = entries.len() < limits::ENTRIES_PER_READ_MAX;
            for entry in entries {
                if entry.seq >= end {
                    return Ok(());
                }
                self.head = entry.seq;
                self.state.apply(&entry);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Marks everything that was under way as lost: its performer is dead.
    pub(crate) fn resume(&mut self) {
        self.enter(Draft {
            thread: self.thread.clone(),
            id: None,
            content: Content::Internal(EventKind::JournalSessionResumed),
            private: None,
        });
    }

    /// Gives a draft its id and time, and applies it. It counts once [`Journal::write`] has succeeded.
    pub(crate) fn enter(&mut self, draft: Draft) {
        let now = self.inner.parts.clock.now();
        let entry = self.entry(draft, now);
        self.state.apply(&entry.clone().at(0));
        self.unwritten.push(entry);
    }

    fn entry(&self, draft: Draft, now: Timestamp) -> NewEntry {
        let Draft { thread, id, content, private } = draft;
        let id = id.unwrap_or_else(|| self.inner.parts.ids.make());
        let (kind, public, processes) = match content {
            Content::Event(event) => (event.kind(), Some(event.public(&id)), None),
            Content::UsageSnapshot => {
                let usage = raw(&SessionUsage::new(&self.state.accounting(), now));
                let event = Emitted::Usage { usage, budget: None };
                (event.kind(), Some(event.public(&id)), None)
            }
            Content::Processed(input) => (EventKind::JournalInputProcessed, None, Some(input)),
            Content::Internal(kind) => (kind, None, None),
        };
        NewEntry { thread, id, kind, public, private, created_at: now, processed_at: Some(now), processes }
    }

    /// Makes everything entered durable. At rest the lease goes back in the same commit, unless news came in.
    pub(crate) async fn write(&mut self) -> Result<Written, store::Error> {
        let is_at_rest = self.state.is_at_rest();
        if self.unwritten.is_empty() && !is_at_rest {
            return Ok(Written::Kept);
        }
        let entries = std::mem::take(&mut self.unwritten);
        let measured: Vec<NewEntry> = entries.iter().filter(|entry| Turns::counts(entry)).cloned().collect();
        let patch = Patch {
            status: status(&entries),
            progress: changes_progress(&entries).then(|| raw(&self.state.accounting()).get().to_owned()),
            threads: self.thread_changes(&entries),
            waiting: (!entries.is_empty()).then(|| self.waiting()),
            runnable: is_at_rest.then_some(false),
            release: is_at_rest,
            ..Patch::default()
        };
        let append = Append {
            session: self.key,
            fence: Fence::Lease { epoch: self.epoch },
            entries,
            patch,
            jobs: Vec::new(),
            expected_head: Some(self.head),
        };
        let crash = self.inner.parts.crash.as_ref();
        crash::point(crash, "before_append");
        let appended = self.inner.parts.store.append(append).await?;
        crash::point(crash, "after_append");
        for entry in &measured {
            self.turns.count(entry);
        }
        if appended.released {
            self.head = appended.last;
            let rested = self.rest();
            self.inner.resting.put(rested);
            return Ok(Written::Released);
        }
        if appended.last >= appended.first {
            // Clients may have appended before us. What they send only queues up, so applying it late is the same.
            if appended.first > self.head + 1 {
                self.read_until(appended.first).await?;
            }
            self.head = appended.last;
        }
        if is_at_rest {
            self.read_news().await?;
        }
        Ok(Written::Kept)
    }
}

impl Journal {
    /// The threads whose status or accounting these entries change.
    fn thread_changes(&self, entries: &[NewEntry]) -> Vec<ThreadChange> {
        let changed: HashSet<&ThreadId> =
            entries.iter().filter(|entry| changes_thread(&entry.kind)).map(|entry| &entry.thread).collect();
        let rows = self.state.thread_rows().filter(|(id, _, _)| changed.contains(id));
        let change = |(id, status, accounting): (&ThreadId, SessionStatus, &Progress)| ThreadChange {
            id: id.clone(),
            agent: None,
            status,
            progress: raw(accounting).get().to_owned(),
            archived_at: None,
        };
        rows.map(change).collect()
    }

    fn waiting(&self) -> Vec<Waiting> {
        let waiting = |(thread, call, is_asking): (&ThreadId, &EventId, bool)| Waiting {
            call: call.clone(),
            thread: thread.clone(),
            wants: if is_asking { Wants::Confirmation } else { Wants::Result },
            is_answered: false,
        };
        self.state.waiting().map(waiting).collect()
    }
}

fn changes_thread(kind: &EventKind) -> bool {
    let changing = [
        EventKind::SessionThreadStatusRunning,
        EventKind::SessionThreadStatusIdle,
        EventKind::SessionThreadStatusRescheduled,
        EventKind::SessionThreadStatusTerminated,
        EventKind::SpanModelRequestEnd,
    ];
    changing.contains(kind)
}

/// The session's status after these entries, when they change it.
fn status(entries: &[NewEntry]) -> Option<SessionStatus> {
    entries.iter().rev().find_map(|entry| SessionStatus::after(&entry.kind))
}

fn changes_progress(entries: &[NewEntry]) -> bool {
    status(entries).is_some() || entries.iter().any(|entry| entry.kind == EventKind::SpanModelRequestEnd)
}
