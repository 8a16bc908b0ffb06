//! What should be under way outside the log, as data. A performer needs nothing else.

use std::sync::Arc;

use api::ids::EventId;
use api::ids::ThreadId;
use api::time::Timestamp;
use serde_json::value::RawValue;

use super::call::Call;
use super::call::CallState;
use super::request::Purpose;

/// Something outside the log. Two effects with the same [`EffectId`] are the same one.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask the model; `span` is the intent. [`super::context()`] is what it is sent.
    Ask {
        /// The thread that asks.
        thread: ThreadId,
        /// The `span.model_request_start` event.
        span: EventId,
        /// What for.
        purpose: Purpose,
    },
    /// Stop asking the model.
    CancelAsk {
        /// The thread that asks.
        thread: ThreadId,
        /// The `span.model_request_start` event.
        span: EventId,
    },
    /// Run the tool call; its event is the intent.
    Start {
        /// The thread that calls.
        thread: ThreadId,
        /// The event of the call.
        call: EventId,
        /// Name of the tool.
        tool: String,
        /// A JSON object.
        input: Arc<RawValue>,
    },
    /// Find out the fate of a call whose performer died. It is run only if it certainly never was.
    Recover {
        /// The thread that calls.
        thread: ThreadId,
        /// The event of the call.
        call: EventId,
        /// When the intent was written.
        wanted_at: Timestamp,
    },
    /// Stop the tool call, started or not.
    Cancel {
        /// The thread that calls.
        thread: ThreadId,
        /// The event of the call.
        call: EventId,
    },
    /// Wait until this time, then report [`super::EffectDone::Waited`].
    Wait {
        /// The thread that waits.
        thread: ThreadId,
        /// When to go on.
        until: Timestamp,
    },
}

/// Identity of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EffectId {
    /// [`Effect::Ask`] of this span.
    Ask(EventId),
    /// [`Effect::CancelAsk`] of this span.
    CancelAsk(EventId),
    /// [`Effect::Start`] of this call.
    Start(EventId),
    /// [`Effect::Recover`] of this call.
    Recover(EventId),
    /// [`Effect::Cancel`] of this call.
    Cancel(EventId),
    /// [`Effect::Wait`] of this thread.
    Wait(ThreadId, Timestamp),
}

impl Effect {
    /// The effect that a call which may run wants.
    pub(crate) fn of_call(thread: &ThreadId, call: &Call) -> Self {
        let (thread, event) = (thread.clone(), call.event.clone());
        match call.state {
            CallState::Ready { is_lost: true } => {
                Self::Recover { thread, call: event, wanted_at: call.wanted_at }
            }
            CallState::Asking
            | CallState::Ready { is_lost: false }
            | CallState::Waiting
            | CallState::Done(_) => {
                Self::Start { thread, call: event, tool: call.tool.clone(), input: Arc::clone(&call.input) }
            }
        }
    }

    /// Its identity.
    pub fn id(&self) -> EffectId {
        match self {
            Self::Ask { span, .. } => EffectId::Ask(span.clone()),
            Self::CancelAsk { span, .. } => EffectId::CancelAsk(span.clone()),
            Self::Start { call, .. } => EffectId::Start(call.clone()),
            Self::Recover { call, .. } => EffectId::Recover(call.clone()),
            Self::Cancel { call, .. } => EffectId::Cancel(call.clone()),
            Self::Wait { thread, until } => EffectId::Wait(thread.clone(), *until),
        }
    }

    /// The thread that wants it.
    pub fn thread(&self) -> &ThreadId {
        match self {
            Self::Ask { thread, .. }
            | Self::CancelAsk { thread, .. }
            | Self::Start { thread, .. }
            | Self::Recover { thread, .. }
            | Self::Cancel { thread, .. }
            | Self::Wait { thread, .. } => thread,
        }
    }
}
