//! The fold of a session's log: its threads, and what holds for all of them.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use api::entry::Entry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use api::sessions::Progress;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use serde::Deserialize;

use super::accounting;
use super::agent::AgentSnapshot;
use super::call::CallState;
use super::policy::Policy;
use super::thread::Thread;
use super::thread::public;

/// Everything that the next decision depends on.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) policy: Policy,
    created_at: Option<Timestamp>,
    /// The thread of the session's own agent; absent until the first entry was applied.
    pub(crate) primary: Option<ThreadId>,
    pub(crate) threads: BTreeMap<ThreadId, Thread>,
    /// Interrupts that have not been applied yet, oldest first.
    pub(crate) interrupts: VecDeque<Interrupt>,
    /// The status that was announced last.
    pub(crate) status: SessionStatus,
    /// When the session as a whole worked, however many of its threads did.
    clock: Progress,
}

/// A client's wish to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    pub(crate) id: EventId,
    /// Only this thread; all of them without.
    pub(crate) thread: Option<ThreadId>,
}

impl Interrupt {
    pub(crate) fn concerns(&self, thread: &ThreadId) -> bool {
        self.thread.as_ref().is_none_or(|target| target == thread)
    }
}

impl State {
    /// The state before the first entry.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            created_at: None,
            primary: None,
            threads: BTreeMap::new(),
            interrupts: VecDeque::new(),
            status: SessionStatus::Idle,
            clock: Progress::default(),
        }
    }

    /// The state after these entries.
    pub fn fold<'a>(policy: Policy, entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut state = Self::new(policy);
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// Whether anything may be under way, which the death of its performer would lose.
    pub fn is_active(&self) -> bool {
        self.threads.values().any(|thread| thread.turn.is_some())
    }

    /// Bytes of conversation that it holds.
    pub fn bytes(&self) -> usize {
        self.threads.values().map(Thread::bytes).sum()
    }

    /// The status that was announced last.
    pub fn status(&self) -> SessionStatus {
        self.status
    }

    /// Usage and times of the session: tokens and cost are the sum of its threads', and time in which several threads
    /// work counts once.
    pub fn accounting(&self) -> Progress {
        let mut total = self.clock.clone();
        for thread in self.threads.values() {
            accounting::spend(&mut total, &thread.accounting.usage, thread.accounting.list_cost_microcents);
        }
        total
    }

    /// The status and accounting of each thread.
    pub fn thread_rows(&self) -> impl Iterator<Item = (&ThreadId, SessionStatus, &Progress)> {
        self.threads.iter().map(|(id, thread)| (id, thread.status, &thread.accounting))
    }

    /// The calls that wait for the client: thread, event, and whether it is asked for permission instead of a result.
    pub fn waiting(&self) -> impl Iterator<Item = (&ThreadId, &EventId, bool)> {
        let of_thread = |(id, thread)| {
            let thread: &Thread = thread;
            let calls =
                thread.turn.iter().flat_map(|turn| &turn.calls).filter(|call| call.is_blocked_on_client());
            calls.map(move |call| (id, &call.event, matches!(call.state, CallState::Asking)))
        };
        self.threads.iter().flat_map(of_thread)
    }

    /// Takes the next entry of the log into account.
    pub fn apply(&mut self, entry: &Entry) {
        if let Some(status) = SessionStatus::after(&entry.kind) {
            return self.set_status(status, entry.created_at);
        }
        if entry.kind == EventKind::JournalSessionCreated {
            self.created_at = Some(entry.created_at);
            self.primary = Some(entry.thread.clone());
            self.add_thread(entry);
        } else if entry.kind == EventKind::JournalThreadCreated {
            self.add_thread(entry);
        } else if entry.kind == EventKind::SessionUpdated {
            let primary = self.primary.as_ref().and_then(|primary| self.threads.get_mut(primary));
            if let (Some(thread), Some(agent)) = (primary, agent(entry)) {
                thread.agent = agent;
            }
        } else if entry.kind == EventKind::JournalSessionResumed {
            self.threads
                .values_mut()
                .filter_map(|thread| thread.turn.as_mut())
                .for_each(super::turn::Turn::lose);
        } else if entry.kind == EventKind::UserInterrupt {
            let Targeted { session_thread_id: thread } = public(entry);
            self.interrupts.push_back(Interrupt { id: entry.id.clone(), thread });
        } else {
            self.interrupts.retain(|interrupt| Some(&interrupt.id) != entry.processes.as_ref());
            if let Some(thread) = self.threads.get_mut(&entry.thread) {
                thread.apply(entry);
            }
        }
    }

    fn add_thread(&mut self, entry: &Entry) {
        if let Some(agent) = agent(entry) {
            self.threads.insert(entry.thread.clone(), Thread::new(agent, entry.created_at));
        }
    }

    fn set_status(&mut self, status: SessionStatus, at: Timestamp) {
        self.status = status;
        match status {
            SessionStatus::Running => {
                accounting::start(&mut self.clock, at, self.created_at.unwrap_or(at));
            }
            SessionStatus::Idle => accounting::stop(&mut self.clock, at),
            SessionStatus::Rescheduling => {}
            SessionStatus::Terminated => {
                accounting::stop(&mut self.clock, at);
                self.threads.values_mut().for_each(|thread| thread.turn = None);
            }
        }
    }
}

fn agent(entry: &Entry) -> Option<AgentSnapshot> {
    entry.private.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok())
}

#[derive(Default, Deserialize)]
struct Targeted {
    #[serde(default)]
    session_thread_id: Option<ThreadId>,
}
