//! The one place where a model request begins, and what it consists of.
//!
//! [`request`] is the gate: what bounds requests is checked there and nowhere else. What is sent is a pure function of
//! the log. The conversation only ever grows at its end, and everything before it is fixed per thread, so that two
//! requests in a row share their prefix byte for byte and the provider's prompt cache hits.

use api::completion::Request;
use api::emitted::Emitted;
use api::emitted::RetryStatus;
use api::emitted::SessionError;
use api::emitted::SessionErrorKind;
use api::ids::ThreadId;
use api::sessions::SessionStatus;
use serde::Deserialize;
use serde::Serialize;

use super::Draft;
use super::decide::fail_turn;
use super::private;
use super::session::State;
use super::thread::Thread;

/// The reason for a model request. It is part of the intent, so that whoever folds the log knows what to do with the
/// reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The next reply in a thread's conversation.
    #[default]
    Turn,
}

/// The intent of a model request, or the end of the turn when no further request is permitted. A thread that is not at
/// work starts to.
pub(crate) fn request(state: &State, id: &ThreadId, thread: &Thread, purpose: Purpose) -> Vec<Draft> {
    let (rounds, rounds_max) = (thread.turn.as_ref().map_or(0, |turn| turn.rounds), state.policy.rounds_max);
    if rounds >= rounds_max {
        let message =
            format!("the turn made {rounds_max} model requests without finishing; send a message to go on");
        let kind = SessionErrorKind::ToolUseLimitReached;
        let error = SessionError { kind, message, retry_status: RetryStatus::Exhausted };
        return fail_turn(id, thread, error);
    }
    let mut drafts = running(id, thread);
    drafts.push(Draft::noted(id, Emitted::RequestStart, &private::RequestStart { purpose }));
    drafts
}

/// The thread starts to work, if it does not already.
pub(crate) fn running(id: &ThreadId, thread: &Thread) -> Vec<Draft> {
    if thread.status == SessionStatus::Running {
        return Vec::new();
    }
    let (session_thread_id, agent_name) = (id.clone(), thread.agent.agent_name.clone());
    vec![Draft::event(id, Emitted::ThreadRunning { session_thread_id, agent_name })]
}

/// What the model is sent for a request of this thread.
///
/// # Panics
/// When the session has no such thread.
pub fn context(state: &State, thread: &ThreadId, purpose: Purpose) -> Request {
    let thread = state.threads.get(thread).expect("a request is made in a thread of the session");
    let agent = &thread.agent;
    match purpose {
        Purpose::Turn => Request {
            model: agent.model.clone(),
            speed: agent.speed.clone(),
            effort: agent.effort.clone(),
            system: system(thread),
            tools: agent.tools.iter().map(|tool| tool.definition.clone()).collect(),
            messages: thread.conversation.messages().to_vec(),
        },
    }
}

/// The agent's own prompt, and what the runtime adds for an agent that has tools.
fn system(thread: &Thread) -> String {
    let agent = &thread.agent;
    match (agent.tools.is_empty(), agent.system.as_str()) {
        (true, own) => own.to_owned(),
        (false, "") => agent.runtime.note(),
        (false, own) => format!("{own}\n\n{}", agent.runtime.note()),
    }
}
