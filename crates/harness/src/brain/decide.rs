//! What should be written, or be under way, in a state.

use std::sync::Arc;

use api::emitted::Emitted;
use api::emitted::SessionError;
use api::emitted::SpanUsage;
use api::emitted::StopReason;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use api::sessions::SessionStatus;
use serde_json::value::RawValue;

use super::Content;
use super::Draft;
use super::call::CallState;
use super::call::startable;
use super::effect::Effect;
use super::private;
use super::request;
use super::request::Purpose;
use super::session::State;
use super::status;
use super::texts;
use super::thread::Says;
use super::thread::Thread;
use super::turn::Next;
use super::turn::OpenRequest;
use super::turn::Turn;

/// What follows from a state. When there is something to write, it is written and applied first, and the question is
/// asked again; only then do effects count.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Append these, all or none.
    Write(Vec<Draft>),
    /// These should be under way, and nothing else. Empty: the session is at rest.
    Perform(Vec<Effect>),
}

/// What follows from `state`: the writes of the first thread that wants any, else the effects of all threads.
pub fn decide(state: &State) -> Decision {
    if state.status == SessionStatus::Terminated {
        return Decision::Perform(Vec::new());
    }
    let drafts = needless_interrupts(state);
    if !drafts.is_empty() {
        return Decision::Write(drafts);
    }
    let mut effects = Vec::new();
    for (id, thread) in &state.threads {
        match decide_thread(state, id, thread) {
            Decision::Write(drafts) => return Decision::Write(status::announce(state, drafts)),
            Decision::Perform(more) => effects.extend(more),
        }
    }
    Decision::Perform(effects)
}

impl State {
    /// Whether nothing is to be written or performed.
    pub fn is_at_rest(&self) -> bool {
        matches!(decide(self), Decision::Perform(effects) if effects.is_empty())
    }
}

/// Interrupts that have nothing, or nothing any more, to stop.
fn needless_interrupts(state: &State) -> Vec<Draft> {
    let Some(primary) = &state.primary else { return Vec::new() };
    let has_turn = |id: &ThreadId| state.threads.get(id).is_some_and(|thread| thread.turn.is_some());
    let needless = state.interrupts.iter().filter(|interrupt| {
        !state.threads.keys().any(|thread| interrupt.concerns(thread) && has_turn(thread))
    });
    needless.map(|interrupt| processed(primary, interrupt.id.clone())).collect()
}

fn decide_thread(state: &State, id: &ThreadId, thread: &Thread) -> Decision {
    let is_interrupted = state.interrupts.iter().any(|interrupt| interrupt.concerns(id));
    if !thread.answers.is_empty() {
        return Decision::Write(taken_answers(id, thread));
    }
    match &thread.turn {
        Some(turn) => continue_turn(state, id, thread, turn, is_interrupted),
        None if thread.inputs.is_empty() || is_interrupted => Decision::Perform(Vec::new()),
        None => start_request(state, id, thread),
    }
}

/// Takes the messages that wait into the conversation and asks the model.
fn start_request(state: &State, id: &ThreadId, thread: &Thread) -> Decision {
    let mut drafts = taken_inputs(id, thread, false);
    drafts.extend(request::request(state, id, thread, Purpose::Turn));
    Decision::Write(drafts)
}

fn continue_turn(
    state: &State,
    id: &ThreadId,
    thread: &Thread,
    turn: &Turn,
    is_interrupted: bool,
) -> Decision {
    if let Some(OpenRequest { span, purpose, is_lost }) = &turn.request {
        let (thread, span, purpose) = (id.clone(), span.clone(), *purpose);
        return match (is_lost, is_interrupted) {
            (true, _) => Decision::Write(vec![aborted(id, span, true)]),
            (false, true) => Decision::Perform(vec![Effect::CancelAsk { thread, span }]),
            (false, false) => Decision::Perform(vec![Effect::Ask { thread, span, purpose }]),
        };
    }
    if !turn.calls.is_empty() {
        return if is_interrupted { stop_calls(id, turn) } else { run_calls(id, thread, turn) };
    }
    if is_interrupted {
        let mut drafts = applied_interrupts(state, id);
        drafts.push(idle(id, thread, StopReason::EndTurn, None));
        return Decision::Write(drafts);
    }
    match &turn.next {
        Next::Ask => Decision::Write(request::request(state, id, thread, Purpose::Turn)),
        Next::Answered { stop_reason, stop_details } if stop_reason == "refusal" => {
            let details = texts::refusal(stop_details.as_deref());
            Decision::Write(vec![idle(id, thread, StopReason::Refusal, Some(details))])
        }
        Next::Answered { .. } if thread.inputs.is_empty() => {
            Decision::Write(vec![idle(id, thread, StopReason::EndTurn, None)])
        }
        Next::Answered { .. } => start_request(state, id, thread),
        Next::Retry { at } => Decision::Perform(vec![Effect::Wait { thread: id.clone(), until: *at }]),
        Next::GiveUp => Decision::Write(give_up(id, thread)),
    }
}

/// Runs what may run, and tells the client what waits for it.
fn run_calls(id: &ThreadId, thread: &Thread, turn: &Turn) -> Decision {
    let effects =
        startable(&turn.calls).into_iter().map(|position| Effect::of_call(id, &turn.calls[position]));
    let effects: Vec<Effect> = effects.collect();
    let event_ids = turn.blocked();
    if event_ids.is_empty() {
        let drafts = request::running(id, thread);
        return if drafts.is_empty() { Decision::Perform(effects) } else { Decision::Write(drafts) };
    }
    let reason = StopReason::RequiresAction { event_ids };
    let must_announce = match thread.status {
        SessionStatus::Running | SessionStatus::Rescheduling => effects.is_empty(),
        SessionStatus::Idle | SessionStatus::Terminated => thread.stop_reason.as_ref() != Some(&reason),
    };
    if must_announce {
        Decision::Write(vec![idle(id, thread, reason, None)])
    } else {
        Decision::Perform(effects)
    }
}

/// Stops what may run, and closes at once what does not.
fn stop_calls(id: &ThreadId, turn: &Turn) -> Decision {
    let running = startable(&turn.calls);
    let idle = turn
        .calls
        .iter()
        .enumerate()
        .filter(|(position, call)| call.is_open() && !running.contains(position));
    let drafts: Vec<Draft> = idle.map(|(_, call)| texts::interrupted(id, call.event.clone())).collect();
    if !drafts.is_empty() {
        return Decision::Write(drafts);
    }
    let cancel =
        |position: usize| Effect::Cancel { thread: id.clone(), call: turn.calls[position].event.clone() };
    Decision::Perform(running.into_iter().map(cancel).collect())
}

/// Takes answers to their calls. What a client sent as a result is processed on receipt; a confirmation is now.
fn taken_answers(id: &ThreadId, thread: &Thread) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let is_asking = |event: &EventId| {
        let call = thread.turn.as_ref().and_then(|turn| turn.open_call(event));
        call.is_some_and(|call| matches!(call.state, CallState::Asking))
    };
    let mut denied: Vec<&EventId> = Vec::new();
    for answer in &thread.answers {
        match &answer.says {
            Says::Result { .. } => {
                let private = Some(api::entry::raw(&private::Answered { answer: Some(answer.id.clone()) }));
                let content = Content::Internal(EventKind::JournalCallAnswered);
                drafts.push(Draft { thread: id.clone(), id: None, content, private });
            }
            Says::Allow => drafts.push(processed(id, answer.id.clone())),
            Says::Deny { message } => {
                drafts.push(processed(id, answer.id.clone()));
                if let Some(call) =
                    answer.call.as_ref().filter(|call| is_asking(call) && !denied.contains(call))
                {
                    denied.push(call);
                    drafts.push(texts::denied(id, call.clone(), message.as_deref()));
                }
            }
        }
    }
    drafts
}

/// The end of a request that brought no reply.
pub(crate) fn aborted(thread: &ThreadId, span: EventId, is_error: bool) -> Draft {
    let model_usage = SpanUsage::default();
    let event = Emitted::RequestEnd { model_request_start_id: span, is_error, model_usage };
    Draft::noted(thread, event, &private::RequestEnd::default())
}

fn idle(
    id: &ThreadId,
    thread: &Thread,
    stop_reason: StopReason,
    stop_details: Option<Arc<RawValue>>,
) -> Draft {
    let (session_thread_id, agent_name) = (id.clone(), thread.agent.agent_name.clone());
    Draft::event(id, Emitted::ThreadIdle { session_thread_id, agent_name, stop_reason, stop_details })
}

/// Ends the turns under way because of a failure of the server itself.
pub fn park(state: &State, error: &SessionError) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (id, thread) in &state.threads {
        let Some(turn) = &thread.turn else { continue };
        drafts.extend(turn.request.iter().map(|request| aborted(id, request.span.clone(), true)));
        let open = turn.calls.iter().filter(|call| call.is_open());
        drafts.extend(open.map(|call| texts::unknown(id, call.event.clone())));
        drafts.extend(fail_turn(id, thread, error.clone()));
    }
    status::announce(state, drafts)
}

/// Ends the turn with an error that is not retried.
pub(crate) fn fail_turn(id: &ThreadId, thread: &Thread, error: SessionError) -> Vec<Draft> {
    let mut drafts = vec![Draft::noted(id, Emitted::Error { error }, &private::ErrorNote::default())];
    drafts.extend(give_up(id, thread));
    drafts
}

/// A turn that dies takes the messages that wait behind it along.
fn give_up(id: &ThreadId, thread: &Thread) -> Vec<Draft> {
    let mut drafts = taken_inputs(id, thread, true);
    drafts.push(idle(id, thread, StopReason::RetriesExhausted, None));
    drafts
}

fn taken_inputs(id: &ThreadId, thread: &Thread, is_dropped: bool) -> Vec<Draft> {
    let note = is_dropped.then(|| api::entry::raw(&private::Processed { is_dropped }));
    let taken =
        |input: &super::thread::Input| Draft { private: note.clone(), ..processed(id, input.id.clone()) };
    thread.inputs.iter().map(taken).collect()
}

/// Interrupts that this thread is the last to obey.
fn applied_interrupts(state: &State, id: &ThreadId) -> Vec<Draft> {
    let concerns_others = |interrupt: &super::session::Interrupt| {
        let others = state.threads.iter().filter(|(other, thread)| *other != id && thread.turn.is_some());
        others.into_iter().any(|(other, _)| interrupt.concerns(other))
    };
    let applied =
        state.interrupts.iter().filter(|interrupt| interrupt.concerns(id) && !concerns_others(interrupt));
    applied.map(|interrupt| processed(id, interrupt.id.clone())).collect()
}

fn processed(thread: &ThreadId, event: EventId) -> Draft {
    Draft { thread: thread.clone(), id: None, content: Content::Processed(event), private: None }
}
