//! What to write when something that was under way has ended.

use std::sync::Arc;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Reply;
use api::emitted::Emitted;
use api::emitted::RetryStatus;
use api::emitted::SessionError;
use api::emitted::SessionErrorKind;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use api::time::Timestamp;
use serde_json::value::RawValue;

use super::Content;
use super::Draft;
use super::decide::aborted;
use super::policy::Policy;
use super::private;
use super::reply::replied;
use super::request;
use super::request::Purpose;
use super::session::State;
use super::status;
use super::texts;
use super::thread::Thread;
use super::turn::Next;
use super::turn::Turn;

/// How an effect ended.
#[derive(Clone, Debug)]
pub enum EffectDone {
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
    /// A call ended.
    Called {
        /// The event of the call.
        call: EventId,
        /// How.
        end: CallEnd,
    },
    /// The time of [`super::Effect::Wait`] has come.
    Waited,
}

/// How a call ended where it ran. The brain words what the model is told.
#[derive(Clone, Debug)]
pub enum CallEnd {
    /// It has a result.
    Result {
        /// Content blocks.
        content: Vec<Arc<RawValue>>,
        /// Whether it failed.
        is_error: bool,
    },
    /// It was stopped on our wish, and left no result.
    Cancelled,
    /// Whether it took effect cannot be known.
    Unknown,
    /// It was certainly never begun.
    NeverStarted,
    /// The sandbox went away while it ran.
    SandboxLost,
    /// It was not run.
    NotRun {
        /// Why.
        reason: String,
    },
    /// It was not run because there is no sandbox.
    NoSandbox {
        /// Why, for people.
        reason: String,
    },
}

/// What to write after an effect of this thread ended. Nothing, when the state has moved on and it does not matter any
/// more.
pub fn observe(state: &State, id: &ThreadId, done: EffectDone) -> Vec<Draft> {
    let Some(thread) = state.threads.get(id) else { return Vec::new() };
    let Some(turn) = &thread.turn else { return Vec::new() };
    let is_open =
        |span: &EventId| turn.request.as_ref().is_some_and(|open| open.span == *span && !open.is_lost);
    let drafts = match done {
        EffectDone::Replied { span, reply, ids, cost_microcents } if is_open(&span) => {
            replied(id, &thread.agent, span, reply, &ids, cost_microcents)
        }
        EffectDone::Failed { span, failure, at, jitter_permille } if is_open(&span) => {
            failed(id, thread, state.policy, turn.failures, span, failure, at, jitter_permille)
        }
        EffectDone::Stopped { span } if is_open(&span) => vec![aborted(id, span, false)],
        EffectDone::Called { call, end } if turn.open_call(&call).is_some() => called(id, turn, call, end),
        EffectDone::Waited if matches!(turn.next, Next::Retry { .. }) && turn.request.is_none() => {
            request::request(state, id, thread, Purpose::Turn)
        }
        EffectDone::Replied { .. }
        | EffectDone::Failed { .. }
        | EffectDone::Stopped { .. }
        | EffectDone::Called { .. }
        | EffectDone::Waited => Vec::new(),
    };
    status::announce(state, drafts)
}

fn called(id: &ThreadId, turn: &Turn, call: EventId, end: CallEnd) -> Vec<Draft> {
    vec![match end {
        CallEnd::Result { content, is_error } => texts::result(id, call, content, is_error),
        CallEnd::Cancelled => texts::interrupted(id, call),
        CallEnd::Unknown => texts::unknown(id, call),
        CallEnd::NeverStarted => {
            let private = Some(raw(&private::Unstarted { call: Some(call) }));
            let content = Content::Internal(EventKind::JournalCallUnstarted);
            Draft { thread: id.clone(), id: None, content, private }
        }
        CallEnd::SandboxLost => texts::lost(id, call),
        CallEnd::NotRun { reason } => texts::failed(id, call, &format!("The call was not run: {reason}.")),
        CallEnd::NoSandbox { reason } => return no_sandbox(id, turn, call, &reason),
    }]
}

/// The turn goes on, and the next call tries again, so this is no end of anything. Clients are told once in a turn, and not
/// for every call that meets the same failure; the model is told each time.
fn no_sandbox(id: &ThreadId, turn: &Turn, call: EventId, reason: &str) -> Vec<Draft> {
    let message = format!("there is no sandbox for this session: {reason}");
    let mut drafts = Vec::new();
    if turn.trouble.as_deref() != Some(message.as_str()) {
        let kind = SessionErrorKind::Unknown;
        let error = SessionError { kind, message, retry_status: RetryStatus::Retrying };
        let note = private::ErrorNote { retry_at: None, is_of_sandbox: true };
        drafts.push(Draft::noted(id, Emitted::Error { error }, &note));
    }
    drafts.push(texts::failed(id, call, &format!("The call was not run: {reason}.")));
    drafts
}

#[expect(clippy::too_many_arguments, reason = "the parts of one outcome")]
fn failed(
    id: &ThreadId,
    thread: &Thread,
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
    let mut drafts = vec![aborted(id, span, true)];
    drafts.push(Draft::noted(
        id,
        Emitted::Error { error },
        &private::ErrorNote { retry_at, is_of_sandbox: false },
    ));
    if may_retry {
        let (session_thread_id, agent_name) = (id.clone(), thread.agent.agent_name.clone());
        drafts.push(Draft::event(id, Emitted::ThreadRescheduled { session_thread_id, agent_name }));
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
