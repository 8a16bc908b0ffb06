//! What should be written, or be under way, in a state.

use std::sync::Arc;

use api::emitted::Emitted;
use api::emitted::RetryStatus;
use api::emitted::SessionError;
use api::emitted::SessionErrorKind;
use api::emitted::SpanUsage;
use api::emitted::StopReason;
use api::ids::EventId;
use api::time::Timestamp;
use serde_json::value::RawValue;

use super::Content;
use super::Draft;
use super::facts::Facts;
use super::notes;
use super::state::Next;
use super::state::State;
use super::state::Turn;

/// What follows from a state. When there is something to write, it is written and applied first, and the question is
/// asked again; only then do effects count.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Append these, all or none.
    Write(Vec<Draft>),
    /// These should be under way, and nothing else. Empty: the session is at rest.
    Perform(Vec<Effect>),
}

/// Something outside the log. Naming one twice means the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the model; `span` is the intent.
    Ask {
        /// The `span.model_request_start` event.
        span: EventId,
    },
    /// Stop asking the model.
    CancelAsk {
        /// The `span.model_request_start` event.
        span: EventId,
    },
    /// Run the tool call; its event is the intent.
    Run {
        /// The `agent.tool_use` event.
        call: EventId,
    },
    /// Find out what became of a call whose caller died. It is run only if it certainly never was.
    Recall {
        /// The `agent.tool_use` event.
        call: EventId,
    },
    /// Stop the tool call, started or not.
    CancelRun {
        /// The `agent.tool_use` event.
        call: EventId,
    },
    /// Wait until this time, then report [`super::Outcome::Waited`].
    Wait {
        /// When to go on.
        until: Timestamp,
    },
}

/// What follows from `state`.
pub fn decide(state: &State) -> Decision {
    let rest = Decision::Perform(Vec::new());
    let Some(facts) = &state.facts else { return rest };
    if state.is_terminated {
        return rest;
    }
    match &state.turn {
        Some(turn) => go_on(state, facts, turn),
        None => begin(state, facts),
    }
}

fn begin(state: &State, facts: &Facts) -> Decision {
    if !state.interrupts.is_empty() {
        // There is nothing to interrupt.
        return Decision::Write(applied_interrupts(state));
    }
    if state.inputs.is_empty() {
        return Decision::Perform(Vec::new());
    }
    let mut drafts = taken_inputs(state, false);
    drafts.extend(running(facts));
    drafts.push(Draft::event(Emitted::RequestStart));
    Decision::Write(drafts)
}

fn go_on(state: &State, facts: &Facts, turn: &Turn) -> Decision {
    let is_interrupted = !state.interrupts.is_empty();
    if let Some(request) = &turn.request {
        let span = request.span.clone();
        return match (request.is_lost, is_interrupted) {
            (true, _) => Decision::Write(vec![aborted(span, true)]),
            (false, true) => Decision::Perform(vec![Effect::CancelAsk { span }]),
            (false, false) => Decision::Perform(vec![Effect::Ask { span }]),
        };
    }
    if !turn.calls.is_empty() {
        let effects = turn.calls.iter().map(|open| {
            let call = open.event.clone();
            match (is_interrupted, open.is_lost) {
                (true, _) => Effect::CancelRun { call },
                (false, true) => Effect::Recall { call },
                (false, false) => Effect::Run { call },
            }
        });
        return Decision::Perform(effects.collect());
    }
    if is_interrupted {
        let mut drafts = applied_interrupts(state);
        drafts.extend(idle(facts, StopReason::EndTurn, None));
        return Decision::Write(drafts);
    }
    match &turn.next {
        Next::Ask if turn.rounds >= state.policy.rounds_max => Decision::Write(stop_looping(state, facts)),
        Next::Ask => Decision::Write(vec![Draft::event(Emitted::RequestStart)]),
        Next::Answered { stop_reason, stop_details } if stop_reason == "refusal" => {
            Decision::Write(idle(facts, StopReason::Refusal, Some(refusal(stop_details.as_deref()))))
        }
        Next::Answered { .. } if state.inputs.is_empty() => {
            Decision::Write(idle(facts, StopReason::EndTurn, None))
        }
        Next::Answered { .. } => {
            let mut drafts = taken_inputs(state, false);
            drafts.push(Draft::event(Emitted::RequestStart));
            Decision::Write(drafts)
        }
        Next::Retry { at } => Decision::Perform(vec![Effect::Wait { until: *at }]),
        Next::GiveUp => Decision::Write(give_up(state, facts)),
    }
}

/// The session and its thread start to work.
pub(crate) fn running(facts: &Facts) -> Vec<Draft> {
    let (session_thread_id, agent_name) = (facts.thread.clone(), facts.agent_name.clone());
    vec![
        Draft::event(Emitted::Running),
        Draft::event(Emitted::ThreadRunning { session_thread_id, agent_name }),
    ]
}

/// The end of a request that brought no reply.
pub(crate) fn aborted(span: EventId, is_error: bool) -> Draft {
    let model_usage = SpanUsage::default();
    let event = Emitted::RequestEnd { model_request_start_id: span, is_error, model_usage };
    Draft::noted(event, &notes::RequestEnd::default())
}

fn idle(facts: &Facts, stop_reason: StopReason, stop_details: Option<Arc<RawValue>>) -> Vec<Draft> {
    let (session_thread_id, agent_name) = (facts.thread.clone(), facts.agent_name.clone());
    let details = stop_details.clone();
    vec![
        Draft::event(Emitted::ThreadIdle {
            session_thread_id,
            agent_name,
            stop_reason,
            stop_details: details,
        }),
        Draft { id: None, content: Content::UsageSnapshot, private: None },
        Draft::event(Emitted::Idle { stop_reason, stop_details }),
    ]
}

/// Ends the turn under way because of a failure of the server itself.
pub fn park(state: &State, error: SessionError) -> Vec<Draft> {
    let (Some(facts), Some(turn)) = (&state.facts, &state.turn) else {
        return Vec::new();
    };
    let request = turn.request.iter().map(|request| aborted(request.span.clone(), true));
    let results = turn.calls.iter().map(|call| super::observe::unknown(call.event.clone()));
    let mut drafts: Vec<Draft> = request.chain(results).collect();
    drafts.push(Draft::noted(Emitted::Error { error }, &notes::Trouble::default()));
    drafts.extend(give_up(state, facts));
    drafts
}

fn stop_looping(state: &State, facts: &Facts) -> Vec<Draft> {
    let message = format!(
        "the turn made {} model requests without finishing; send a message to go on",
        state.policy.rounds_max
    );
    let kind = SessionErrorKind::ToolUseLimitReached;
    let error = SessionError { kind, message, retry_status: RetryStatus::Exhausted };
    let mut drafts = vec![Draft::noted(Emitted::Error { error }, &notes::Trouble::default())];
    drafts.extend(give_up(state, facts));
    drafts
}

/// A turn that dies takes the messages that wait behind it along.
fn give_up(state: &State, facts: &Facts) -> Vec<Draft> {
    let mut drafts = taken_inputs(state, true);
    drafts.extend(idle(facts, StopReason::RetriesExhausted, None));
    drafts
}

fn taken_inputs(state: &State, is_dropped: bool) -> Vec<Draft> {
    let note = is_dropped.then(|| api::entry::raw(&notes::Processed { is_dropped }));
    let inputs = state.inputs.iter();
    inputs
        .map(|input| Draft { id: None, content: Content::Processed(input.id.clone()), private: note.clone() })
        .collect()
}

fn applied_interrupts(state: &State) -> Vec<Draft> {
    let interrupts = state.interrupts.iter();
    interrupts.map(|id| Draft { id: None, content: Content::Processed(id.clone()), private: None }).collect()
}

/// The wire's stop details out of the provider's, which may name a category that the wire does not know.
fn refusal(stop_details: Option<&RawValue>) -> Arc<RawValue> {
    const CATEGORIES: [&str; 5] = ["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"];
    #[derive(Default, serde::Deserialize)]
    struct Theirs {
        #[serde(default)]
        category: Option<String>,
        #[serde(default)]
        explanation: Option<String>,
    }
    #[derive(serde::Serialize)]
    struct Ours {
        #[serde(rename = "type")]
        kind: &'static str,
        category: Option<String>,
        explanation: Option<String>,
    }
    let theirs: Theirs =
        stop_details.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let category = theirs.category.filter(|category| CATEGORIES.contains(&category.as_str()));
    api::entry::raw(&Ours { kind: "refusal", category, explanation: theirs.explanation })
}
