//! A turn of a thread: from the message that starts it to its last word.
//!
//! It survives `status_idle` with `requires_action`: what the client has to answer is part of it.

use std::sync::Arc;

use api::completion::Role;
use api::entry::Entry;
use api::ids::EventId;
use api::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::agent::AgentSnapshot;
use super::agent::Runs;
use super::call::Call;
use super::call::CallState;
use super::call::startable;
use super::private;
use super::request::Purpose;
use super::thread::Conversation;
use super::thread::public;

/// The turn under way in a thread.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The model request under way.
    pub(crate) request: Option<OpenRequest>,
    /// Blocks of the reply whose request is still open in the log.
    pub(crate) reply: Vec<Arc<RawValue>>,
    /// Calls of the last reply, in its order; empty once all of their results are in the conversation.
    pub(crate) calls: Vec<Call>,
    /// What follows once nothing is under way.
    pub(crate) next: Next,
    /// Requests of this turn that brought a reply.
    pub(crate) rounds: u32,
    /// Failures since the last reply.
    pub(crate) failures: u32,
    /// The last reason that clients were shown for a missing sandbox.
    pub(crate) trouble: Option<String>,
}

/// A model request whose end is not in the log.
#[derive(Clone, Debug)]
pub(crate) struct OpenRequest {
    pub(crate) span: EventId,
    pub(crate) purpose: Purpose,
    /// The process that asked died.
    pub(crate) is_lost: bool,
}

/// What follows once nothing is under way.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Ask the model.
    Ask,
    /// The model said its last word.
    Answered { stop_reason: String, stop_details: Option<Arc<RawValue>> },
    /// Ask the model again at this time.
    Retry { at: Timestamp },
    /// The turn is dead.
    GiveUp,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self {
            request: None,
            reply: Vec::new(),
            calls: Vec::new(),
            next: Next::Ask,
            rounds: 0,
            failures: 0,
            trouble: None,
        }
    }

    pub(crate) fn call_mut(&mut self, event: &EventId) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.event == *event)
    }

    /// An open call.
    pub(crate) fn open_call(&self, event: &EventId) -> Option<&Call> {
        self.calls.iter().find(|call| call.event == *event && call.is_open())
    }

    /// Calls that the client has to do something about, in the order of the reply.
    pub(crate) fn blocked(&self) -> Vec<EventId> {
        let blocked = self.calls.iter().filter(|call| call.is_blocked_on_client());
        blocked.map(|call| call.event.clone()).collect()
    }

    /// Marks what is under way as lost. A call that waited for its turn has certainly not been started.
    pub(crate) fn lose(&mut self) {
        if let Some(request) = &mut self.request {
            request.is_lost = true;
        }
        for position in startable(&self.calls) {
            self.calls[position].state = CallState::Ready { is_lost: true };
        }
    }

    /// The intent of a call.
    pub(crate) fn add_call(&mut self, entry: &Entry, agent: &AgentSnapshot) {
        let private::Blocks { blocks } = private::read(entry.private.as_ref());
        let parsed =
            blocks.first().and_then(|raw| serde_json::from_str::<private::ToolUseBlock>(raw.get()).ok());
        self.reply.extend(blocks);
        let Some(private::ToolUseBlock { id: model_id, name: tool, input }) = parsed else { return };
        let known = agent.tool(&tool);
        let runs = known.map_or(Runs::Sandbox, |known| known.runs);
        let Permitted { evaluated_permission } = public(entry);
        let state = match (runs, evaluated_permission.as_deref()) {
            (Runs::Client, _) => CallState::Waiting,
            (Runs::Sandbox, Some("ask")) => CallState::Asking,
            (Runs::Sandbox, _) => CallState::Ready { is_lost: false },
        };
        self.calls.push(Call {
            event: entry.id.clone(),
            model_id,
            input: input.unwrap_or_else(|| api::entry::raw(&serde_json::Map::new())),
            runs,
            is_read_only: known.is_some_and(|known| known.is_read_only),
            wanted_at: entry.created_at,
            state,
            tool,
        });
    }

    /// Moves the results into the conversation once all are there, in the order of the calls. The reply enters the
    /// conversation when its request ends; a call that is refused on the spot is closed before.
    pub(crate) fn settle_calls(&mut self, conversation: &mut Conversation) {
        if self.request.is_some() || self.calls.iter().any(Call::is_open) {
            return;
        }
        let results = self.calls.drain(..).filter_map(|call| match call.state {
            CallState::Done(result) => Some(result),
            CallState::Asking | CallState::Ready { .. } | CallState::Waiting => None,
        });
        conversation.push(Role::User, results.collect());
    }

    pub(crate) fn end_request(&mut self, end: private::RequestEnd, conversation: &mut Conversation) {
        self.request = None;
        let reply = std::mem::take(&mut self.reply);
        if !end.has_reply {
            // Nothing of it may be seen again: the request is asked anew, or the turn ends.
            self.next = Next::Ask;
            return;
        }
        self.rounds += 1;
        self.failures = 0;
        let has_called = !self.calls.is_empty();
        conversation.push(Role::Assistant, reply);
        self.settle_calls(conversation);
        self.next = if has_called || end.stop_reason == "pause_turn" {
            Next::Ask
        } else {
            Next::Answered { stop_reason: end.stop_reason, stop_details: end.stop_details }
        };
    }
}

#[derive(Default, Deserialize)]
struct Permitted {
    #[serde(default)]
    evaluated_permission: Option<String>,
}
