//! One call of a tool, from the intent in the log to its result, and the order in which calls of one reply run.
//!
//! A call that asks or waits is with the client. A ready call is run as soon as its order permits; what runs is not
//! stored, it follows from the log: a ready call without an open call before it that it must wait for.

use std::sync::Arc;

use api::ids::EventId;
use api::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::agent::Runs;

/// A call of the last reply.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The intent: the `agent.tool_use` or `agent.custom_tool_use` event.
    pub(crate) event: EventId,
    /// The id that the model gave the call.
    pub(crate) model_id: String,
    /// Name of the tool.
    pub(crate) tool: String,
    /// A JSON object.
    pub(crate) input: Arc<RawValue>,
    /// Where it runs.
    pub(crate) runs: Runs,
    /// Whether it may overlap with its neighbours.
    pub(crate) is_read_only: bool,
    /// When the intent was written.
    pub(crate) wanted_at: Timestamp,
    pub(crate) state: CallState,
}

/// How far a call is.
#[derive(Clone, Debug)]
pub(crate) enum CallState {
    /// The client is asked whether it may run.
    Asking,
    /// It may run, or runs.
    Ready {
        /// The process that started it died; where it runs, its fate may be known.
        is_lost: bool,
    },
    /// The client is to send its result.
    Waiting,
    /// It has a result: a `tool_result` block for the model.
    Done(Arc<RawValue>),
}

impl Call {
    /// Whether its result is missing.
    pub(crate) fn is_open(&self) -> bool {
        match self.state {
            CallState::Asking | CallState::Ready { .. } | CallState::Waiting => true,
            CallState::Done(_) => false,
        }
    }

    /// Whether the client has to do something about it.
    pub(crate) fn is_blocked_on_client(&self) -> bool {
        match self.state {
            CallState::Asking | CallState::Waiting => true,
            CallState::Ready { .. } | CallState::Done(_) => false,
        }
    }

    /// Takes the result, for the model.
    pub(crate) fn finish(&mut self, content: &[Arc<RawValue>], is_error: bool) {
        self.state = CallState::Done(api::entry::raw(&ResultBlock {
            kind: "tool_result",
            tool_use_id: &self.model_id,
            content,
            is_error,
        }));
    }

    /// Whether this call has to wait for `earlier`: in the sandbox, what may change something runs alone.
    fn waits_for(&self, earlier: &Self) -> bool {
        let are_in_sandbox = self.runs == Runs::Sandbox && earlier.runs == Runs::Sandbox;
        are_in_sandbox && earlier.is_open() && !(self.is_read_only && earlier.is_read_only)
    }
}

/// The calls that should run now, as positions, in the order of the reply.
pub(crate) fn startable(calls: &[Call]) -> Vec<usize> {
    let is_startable = |position: &usize| {
        let (call, earlier) = (&calls[*position], &calls[..*position]);
        matches!(call.state, CallState::Ready { .. }) && !earlier.iter().any(|other| call.waits_for(other))
    };
    (0..calls.len()).filter(is_startable).collect()
}

#[derive(Serialize)]
struct ResultBlock<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    tool_use_id: &'a str,
    content: &'a [Arc<RawValue>],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}
