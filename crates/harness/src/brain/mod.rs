//! The brain: what a session does next, decided by pure code.
//!
//! [`State`] is the fold of a session's log: its threads, each with its agent, conversation and turn. An entry is routed
//! to the thread that it names. [`decide()`] says what should be written or be under way in that state,
//! [`observe()`] says what to write when something under way has ended, [`context()`] is the request that the model gets.
//! There is no I/O, no clock and no randomness here: time, jitter and fresh ids come in as arguments. The shell applies
//! every entry to the state, performs what `decide` asks for, and never decides itself.
//!
//! Invariants:
//! - Entries from clients only queue up, so the state does not depend on how they interleave with our own entries.
//! - Whatever is under way has its intent in the log; [`crate::brain::State::apply`] of `journal.session_resumed` marks
//!   all of it as lost, and `decide` then says how each is closed, asked for, or told to be unknown.
//! - Every request has one end, every call one result, every turn one last idle (or the session's end).
//! - The session's status and usage are functions of its threads (`status.rs`, [`State::accounting`]).
//! - A model request begins in `request.rs` and nowhere else.

mod accounting;
mod agent;
mod call;
mod decide;
mod definitions;
mod effect;
mod observe;
mod policy;
mod private;
mod reply;
mod request;
mod runtime;
mod session;
mod status;
mod texts;
mod thread;
mod turn;

pub use agent::AgentSnapshot;
pub use agent::Runs;
pub use agent::ToolEntry;
pub use decide::Decision;
pub use decide::decide;
pub use decide::park;
pub use effect::Effect;
pub use effect::EffectId;
pub use observe::CallEnd;
pub use observe::EffectDone;
pub use observe::observe;
pub use policy::Policy;
pub use request::Purpose;
pub use request::context;
pub use runtime::NetworkFacts;
pub use runtime::RuntimeFacts;
pub use session::State;

use std::sync::Arc;

use api::emitted::Emitted;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use serde_json::value::RawValue;

/// Something that the brain wants in the log. The shell gives it an id, a time and a place.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The thread it belongs to.
    pub thread: ThreadId,
    /// The id it must have, when clients have seen a preview under that id.
    pub id: Option<EventId>,
    /// What it is.
    pub content: Content,
    /// What only the server may see.
    pub private: Option<Arc<RawValue>>,
}

/// What a [`Draft`] says.
#[derive(Clone, Debug)]
pub enum Content {
    /// A public event.
    Event(Emitted),
    /// A `session.usage` event, whose figures the shell fills in from the state's progress at the time of writing.
    UsageSnapshot,
    /// The client's event with this id was picked up.
    Processed(EventId),
    /// A fact that clients do not see.
    Internal(EventKind),
}

impl Draft {
    fn event(thread: &ThreadId, event: Emitted) -> Self {
        Self { thread: thread.clone(), id: None, content: Content::Event(event), private: None }
    }

    fn noted<N: serde::Serialize>(thread: &ThreadId, event: Emitted, note: &N) -> Self {
        Self {
            thread: thread.clone(),
            id: None,
            content: Content::Event(event),
            private: Some(api::entry::raw(note)),
        }
    }
}
