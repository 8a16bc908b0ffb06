//! What to write when something that was under way has ended.

use std::sync::Arc;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Reply;
use api::emitted::Emitted;
use api::emitted::Evaluation;
use api::emitted::Permission;
use api::emitted::RetryStatus;
use api::emitted::SessionError;
use api::emitted::SessionErrorKind;
use api::emitted::text_block;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::time::Timestamp;
use serde_json::value::RawValue;

use super::Content;
use super::Draft;
use super::decide::aborted;
use super::decide::running;
use super::facts::Facts;
use super::notes;
use super::state::Next;
use super::state::Policy;
use super::state::State;
use super::state::Turn;

/// How something that was under way ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The model answered.
    Replied {
        /// The request.
        span: EventId,
        /// The answer.
        reply: Reply,
        /// An id for each block of the reply: the one under which a preview was shown, or a fresh one.
        ids: Vec<EventId>,
        /// List cost in millionths of a cent, when the model has a price.
        cost_microcents: Option<i64>,
    },
    /// The model did not answer.
    Failed {
        /// The request.
        span: EventId,
        /// Why.
        failure: Failure,
        /// When that was.
        at: Timestamp,
        /// Random, 0..1000: spreads retries.
        jitter_permille: u32,
    },
    /// The request was stopped on our wish.
    Stopped {
        /// The request.
        span: EventId,
    },
    /// The call has a result.
    Finished {
        /// The `agent.tool_use` event.
        call: EventId,
        /// Content blocks.
        content: Vec<Arc<RawValue>>,
        /// Whether it failed.
        is_error: bool,
    },
    /// Nobody knows whether the call took effect.
    Unknown {
        /// The `agent.tool_use` event.
        call: EventId,
    },
    /// There is no sandbox to run the call in, so it was not run.
    Unprovided {
        /// The `agent.tool_use` event.
        call: EventId,
        /// Why, for people.
        reason: String,
    },
    /// The call was certainly never begun.
    Unstarted {
        /// The `agent.tool_use` event.
        call: EventId,
    },
    /// The time of [`super::Effect::Wait`] has come.
    Waited,
}

/// What to write after `outcome`. Nothing, when the state has moved on and nobody waits for it any more.
pub fn observe(state: &State, outcome: Outcome) -> Vec<Draft> {
    let (Some(facts), Some(turn)) = (&state.facts, &state.turn) else {
        return Vec::new();
    };
    let is_open =
        |span: &EventId| turn.request.as_ref().is_some_and(|open| open.span == *span && !open.is_lost);
    let is_waiting = |call: &EventId| turn.calls.iter().any(|open| open.event == *call);
    match outcome {
        Outcome::Replied { span, reply, ids, cost_microcents } if is_open(&span) => {
            replied(facts, span, reply, &ids, cost_microcents)
        }
        Outcome::Failed { span, failure, at, jitter_permille } if is_open(&span) => {
            failed(facts, state.policy, turn.failures, span, failure, at, jitter_permille)
        }
        Outcome::Stopped { span } if is_open(&span) => vec![aborted(span, false)],
        Outcome::Finished { call, content, is_error } if is_waiting(&call) => {
            vec![result(call, content, is_error)]
        }
        Outcome::Unknown { call } if is_waiting(&call) => vec![unknown(call)],
        Outcome::Unprovided { call, reason } if is_waiting(&call) => unprovided(turn, call, &reason),
        Outcome::Unstarted { call } if is_waiting(&call) => {
            let private = Some(raw(&notes::Unstarted { call: Some(call) }));
            vec![Draft { id: None, content: Content::Internal(EventKind::JournalCallUnstarted), private }]
        }
        Outcome::Waited if matches!(turn.next, Next::Retry { .. }) && turn.request.is_none() => {
            let mut drafts = running(facts);
            drafts.push(Draft::event(Emitted::RequestStart));
            drafts
        }
        Outcome::Replied { .. }
        | Outcome::Failed { .. }
        | Outcome::Stopped { .. }
        | Outcome::Finished { .. }
        | Outcome::Unknown { .. }
        | Outcome::Unprovided { .. }
        | Outcome::Unstarted { .. }
        | Outcome::Waited => Vec::new(),
    }
}

/// The turn goes on, and the next call tries again, so this is no end of anything. Clients are told once in a turn, and not
/// for every call that meets the same failure; the model is told each time.
fn unprovided(turn: &Turn, call: EventId, reason: &str) -> Vec<Draft> {
    let message = format!("there is no sandbox for this session: {reason}");
    let mut drafts = Vec::new();
    if turn.trouble.as_deref() != Some(message.as_str()) {
        let kind = SessionErrorKind::Unknown;
        let error = SessionError { kind, message, retry_status: RetryStatus::Retrying };
        let note = notes::Trouble { retry_at: None, is_of_sandbox: true };
        drafts.push(Draft::noted(Emitted::Error { error }, &note));
    }
    drafts.push(result(call, vec![text_block(&format!("The call was not run: {reason}."))], true));
    drafts
}

/// The result of a call that nobody can know the fate of.
pub(crate) fn unknown(call: EventId) -> Draft {
    let text = "The server was restarted while this call was under way, and whether it took effect is unknown. Check \
                before doing it again.";
    result(call, vec![text_block(text)], true)
}

fn result(call: EventId, content: Vec<Arc<RawValue>>, is_error: bool) -> Draft {
    Draft::event(Emitted::ToolResult { tool_use_id: call, content, is_error })
}

fn replied(
    facts: &Facts,
    span: EventId,
    reply: Reply,
    ids: &[EventId],
    cost_microcents: Option<i64>,
) -> Vec<Draft> {
    let Reply { blocks, stop_reason, stop_details, usage, model: _ } = reply;
    let mut drafts = Vec::new();
    let mut text = TextRun::default();
    for (index, block) in blocks.into_iter().enumerate() {
        let head: notes::BlockHead = serde_json::from_str(block.get()).unwrap_or_default();
        let id = ids.get(index).cloned();
        if head.kind == "text" {
            text.push(id, head.text.as_deref().unwrap_or_default(), block);
            continue;
        }
        drafts.extend(text.end());
        match head.kind.as_str() {
            "thinking" | "redacted_thinking" => drafts.push(with_blocks(id, Emitted::Thinking, vec![block])),
            "tool_use" => drafts.extend(called(facts, id, block, &stop_reason)),
            _ => {
                let private = Some(raw(&notes::Blocks { blocks: vec![block] }));
                drafts.push(Draft { id, content: Content::Internal(EventKind::JournalBlock), private });
            }
        }
    }
    drafts.extend(text.end());
    let event =
        Emitted::RequestEnd { model_request_start_id: span, is_error: false, model_usage: usage.into() };
    let note = notes::RequestEnd { stop_reason, stop_details, has_reply: true, usage, cost_microcents };
    drafts.push(Draft::noted(event, &note));
    drafts
}

/// Neighbouring text blocks, which make one `agent.message`.
#[derive(Default)]
struct TextRun {
    id: Option<EventId>,
    content: Vec<Arc<RawValue>>,
    blocks: Vec<Arc<RawValue>>,
}

impl TextRun {
    fn push(&mut self, id: Option<EventId>, text: &str, block: Arc<RawValue>) {
        // The Messages API refuses an empty text block when it comes back.
        if text.is_empty() {
            return;
        }
        if self.blocks.is_empty() {
            self.id = id;
        }
        self.content.push(text_block(text));
        self.blocks.push(block);
    }

    fn end(&mut self) -> Option<Draft> {
        let Self { id, content, blocks } = std::mem::take(self);
        if blocks.is_empty() {
            return None;
        }
        let is_plain = content.iter().zip(&blocks).all(|(ours, theirs)| ours.get() == theirs.get());
        let event = Emitted::Message { content };
        Some(if is_plain { Draft { id, ..Draft::event(event) } } else { with_blocks(id, event, blocks) })
    }
}

fn with_blocks(id: Option<EventId>, event: Emitted, blocks: Vec<Arc<RawValue>>) -> Draft {
    Draft { id, ..Draft::noted(event, &notes::Blocks { blocks }) }
}

/// A tool call. One that cannot be run is refused on the spot: every call gets a result.
fn called(facts: &Facts, id: Option<EventId>, block: Arc<RawValue>, stop_reason: &str) -> Vec<Draft> {
    let (Some(id), Ok(parsed)) = (id, serde_json::from_str::<notes::ToolUseBlock>(block.get())) else {
        let private = Some(raw(&notes::Blocks { blocks: vec![block] }));
        return vec![Draft { id: None, content: Content::Internal(EventKind::JournalBlock), private }];
    };
    let notes::ToolUseBlock { id: _, name, input } = parsed;
    let is_object = input.as_ref().is_some_and(|raw| raw.get().trim_start().starts_with('{'));
    let input = input.filter(|_| is_object).unwrap_or_else(|| raw(&serde_json::Map::new()));
    let refused = if !facts.tools.contains(&name) {
        Some(format!("There is no tool {name} in this session."))
    } else if stop_reason == "max_tokens" {
        Some("The reply hit the token limit, so this call may be cut off and was not run.".to_owned())
    } else if !is_object {
        Some("The input of this call is not a JSON object, so it was not run.".to_owned())
    } else {
        None
    };
    let is_known = facts.tools.contains(&name);
    let event = Emitted::ToolUse {
        name,
        input,
        evaluated_permission: if is_known { Permission::Allow } else { Permission::Deny },
        evaluation: is_known.then_some(Evaluation::AlwaysAllow),
    };
    let mut drafts = vec![with_blocks(Some(id.clone()), event, vec![block])];
    drafts.extend(refused.map(|text| result(id, vec![text_block(&text)], true)));
    drafts
}

fn failed(
    facts: &Facts,
    policy: Policy,
    failures: u32,
    span: EventId,
    failure: Failure,
    at: Timestamp,
    jitter_permille: u32,
) -> Vec<Draft> {
    let Failure { kind, message, retry_after_ms } = failure;
    let may_retry = kind.is_transient()
        && failures < policy.retries_max
        && retry_after_ms.is_none_or(|millis| millis <= u64::from(policy.retry_after_max_ms));
    let retry_at =
        may_retry.then(|| at.plus_millis(pause_ms(policy, failures, retry_after_ms, jitter_permille)));
    let retry_status = if may_retry { RetryStatus::Retrying } else { RetryStatus::Exhausted };
    let error = SessionError { kind: error_kind(kind), message, retry_status };
    let mut drafts = vec![aborted(span, true)];
    drafts.push(Draft::noted(Emitted::Error { error }, &notes::Trouble { retry_at, is_of_sandbox: false }));
    if may_retry {
        let (session_thread_id, agent_name) = (facts.thread.clone(), facts.agent_name.clone());
        drafts.push(Draft::event(Emitted::ThreadRescheduled { session_thread_id, agent_name }));
        drafts.push(Draft::event(Emitted::Rescheduled));
    }
    drafts
}

/// The provider's wish, up to a tenth longer; else doubling pauses, a quarter shorter or longer.
fn pause_ms(policy: Policy, failures: u32, retry_after_ms: Option<u64>, jitter_permille: u32) -> i64 {
    let jitter = i64::from(jitter_permille.min(1000));
    if let Some(asked) = retry_after_ms {
        let asked = i64::try_from(asked).unwrap_or(i64::MAX / 2000);
        return asked + asked / 10 * jitter / 1000;
    }
    let doubled = i64::from(policy.backoff_base_ms) << failures.min(20);
    let pause = doubled.min(i64::from(policy.backoff_max_ms));
    pause * 3 / 4 + pause / 2 * jitter / 1000
}

fn error_kind(kind: FailureKind) -> SessionErrorKind {
    match kind {
        FailureKind::Overloaded => SessionErrorKind::ModelOverloaded,
        FailureKind::RateLimited => SessionErrorKind::ModelRateLimited,
        FailureKind::Unavailable | FailureKind::Rejected => SessionErrorKind::ModelRequestFailed,
        FailureKind::Billing => SessionErrorKind::Billing,
    }
}
