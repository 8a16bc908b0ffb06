//! Events that the server makes, as clients see them (without `id` and `processed_at`, which are put in later).
//!
//! Shapes follow the `BetaManagedAgents…Event` models of the official SDK 2.14.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::completion::Usage;
use crate::entry::raw;
use crate::event_kinds::EventKind;
use crate::ids::EventId;
use crate::ids::ThreadId;

/// An event made by the server.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Emitted {
    /// Sign of life from extended thinking; carries no content.
    Thinking,
    /// Text from the agent.
    Message {
        /// Text blocks.
        content: Vec<Arc<RawValue>>,
    },
    /// The agent calls a built-in tool. Durable before the tool runs: this is the intent.
    ToolUse {
        /// Tool name.
        name: String,
        /// The input, a JSON object.
        input: Arc<RawValue>,
        /// What the permission policy said.
        evaluated_permission: Permission,
        /// Which policy said it; absent when no policy was asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        evaluation: Option<Evaluation>,
    },
    /// The agent calls a tool that the client runs.
    CustomToolUse {
        /// Tool name.
        name: String,
        /// The input, a JSON object.
        input: Arc<RawValue>,
    },
    /// What the tool answered.
    ToolResult {
        /// The `agent.tool_use` event.
        tool_use_id: EventId,
        /// Content blocks.
        content: Vec<Arc<RawValue>>,
        /// Whether the call failed.
        is_error: bool,
    },
    /// The session works.
    Running,
    /// The session waits for input.
    Idle {
        /// Why it stopped.
        stop_reason: StopReason,
        /// More about the reason; a JSON object.
        stop_details: Option<Arc<RawValue>>,
    },
    /// A transient failure; the session tries again by itself.
    Rescheduled,
    /// The session has ended.
    Terminated,
    /// A thread works.
    ThreadRunning {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// A thread waits for input.
    ThreadIdle {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
        /// Why it stopped.
        stop_reason: StopReason,
        /// More about the reason; a JSON object.
        stop_details: Option<Arc<RawValue>>,
    },
    /// A thread hit a transient failure and tries again.
    ThreadRescheduled {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// A thread has ended.
    ThreadTerminated {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// What the session has used so far.
    Usage {
        /// A JSON object, the snapshot.
        usage: Arc<RawValue>,
        /// Always null until budgets are built.
        budget: Option<Arc<RawValue>>,
    },
    /// Something went wrong.
    Error {
        /// What, and what happens next.
        error: SessionError,
    },
    /// A client changed the session.
    Updated {
        /// The whole agent snapshot, when it changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<Arc<RawValue>>,
        /// All metadata, when it changed and is not empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Arc<RawValue>>,
        /// The title, when it changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// The session was deleted; the last thing that its streams carry.
    Deleted,
    /// A model request begins.
    RequestStart,
    /// A model request has ended, well or not.
    RequestEnd {
        /// The `span.model_request_start` event.
        model_request_start_id: EventId,
        /// Whether it failed.
        is_error: bool,
        /// Tokens of this request.
        model_usage: SpanUsage,
    },
}

/// What a permission policy says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Run it.
    Allow,
    /// Ask the client first.
    Ask,
    /// Refuse it.
    Deny,
}

/// The policy that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Evaluation {
    /// The tool always runs.
    AlwaysAllow,
    /// The client is asked about every call.
    AlwaysAsk,
}

/// Why a thread or session went idle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// The agent is done, or was interrupted.
    EndTurn,
    /// Calls wait for the client; the turn goes on when all of them are answered.
    RequiresAction {
        /// The events of these calls.
        event_ids: Vec<EventId>,
    },
    /// The turn failed and will not be tried again.
    RetriesExhausted,
    /// The model refused.
    Refusal,
}

/// The payload of `session.error`.
#[derive(Clone, Debug, Serialize)]
pub struct SessionError {
    /// What failed.
    #[serde(rename = "type")]
    pub kind: SessionErrorKind,
    /// For people.
    pub message: String,
    /// What happens next.
    pub retry_status: RetryStatus,
}

/// Kinds of `session.error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SessionErrorKind {
    /// The model is overloaded.
    #[serde(rename = "model_overloaded_error")]
    ModelOverloaded,
    /// The model's rate limit was hit.
    #[serde(rename = "model_rate_limited_error")]
    ModelRateLimited,
    /// The model request failed in another way.
    #[serde(rename = "model_request_failed_error")]
    ModelRequestFailed,
    /// The provider's account cannot pay.
    #[serde(rename = "billing_error")]
    Billing,
    /// Too many rounds of tool calls in one turn.
    #[serde(rename = "tool_use_limit_reached_error")]
    ToolUseLimitReached,
    /// Anything else.
    #[serde(rename = "unknown_error")]
    Unknown,
}

/// What happens after a `session.error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    /// The server tries again by itself.
    Retrying,
    /// The turn is dead; the client may send a new message.
    Exhausted,
    /// The session is dead.
    Terminal,
}

/// Tokens of one model request, as its span tells them.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SpanUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
}

impl From<Usage> for SpanUsage {
    fn from(usage: Usage) -> Self {
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens,
            cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens,
        } = usage;
        let cache_creation_input_tokens = cache_creation_5m_input_tokens + cache_creation_1h_input_tokens;
        Self { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens }
    }
}

impl Emitted {
    /// The event's `type`.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Thinking => EventKind::AgentThinking,
            Self::Message { .. } => EventKind::AgentMessage,
            Self::ToolUse { .. } => EventKind::AgentToolUse,
            Self::CustomToolUse { .. } => EventKind::AgentCustomToolUse,
            Self::ToolResult { .. } => EventKind::AgentToolResult,
            Self::Running => EventKind::SessionStatusRunning,
            Self::Idle { .. } => EventKind::SessionStatusIdle,
            Self::Rescheduled => EventKind::SessionStatusRescheduled,
            Self::Terminated => EventKind::SessionStatusTerminated,
            Self::ThreadRunning { .. } => EventKind::SessionThreadStatusRunning,
            Self::ThreadIdle { .. } => EventKind::SessionThreadStatusIdle,
            Self::ThreadRescheduled { .. } => EventKind::SessionThreadStatusRescheduled,
            Self::ThreadTerminated { .. } => EventKind::SessionThreadStatusTerminated,
            Self::Usage { .. } => EventKind::SessionUsage,
            Self::Error { .. } => EventKind::SessionError,
            Self::Updated { .. } => EventKind::SessionUpdated,
            Self::Deleted => EventKind::SessionDeleted,
            Self::RequestStart => EventKind::SpanModelRequestStart,
            Self::RequestEnd { .. } => EventKind::SpanModelRequestEnd,
        }
    }

    /// The event as it is stored: with its id, without `processed_at`.
    pub fn public(&self, id: &EventId) -> Arc<RawValue> {
        #[derive(Serialize)]
        struct WithId<'a> {
            id: &'a EventId,
            #[serde(rename = "type")]
            kind: EventKind,
            #[serde(flatten)]
            event: &'a Emitted,
        }
        raw(&WithId { id, kind: self.kind(), event: self })
    }
}

/// A `text` content block.
pub fn text_block(text: &str) -> Arc<RawValue> {
    #[derive(Serialize)]
    struct Text<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        text: &'a str,
    }
    raw(&Text { kind: "text", text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;
    use crate::time::Clock;
    use crate::time::Timestamp;

    #[test]
    fn the_kind_is_the_type_on_the_wire_and_raw_content_keeps_its_bytes() {
        let id: EventId = Ids::seeded(Clock::manual(Timestamp(0)), 1).make();
        let input: Arc<RawValue> = RawValue::from_string(r#"{"n": 1.0e3}"#.into()).unwrap().into();
        let event = Emitted::ToolUse {
            name: "bash".into(),
            input,
            evaluated_permission: Permission::Allow,
            evaluation: Some(Evaluation::AlwaysAllow),
        };
        let public = event.public(&id);
        assert_eq!(
            public.get(),
            format!(
                r#"{{"id":"{id}","type":"agent.tool_use","name":"bash","input":{{"n": 1.0e3}},"evaluated_permission":"allow","evaluation":{{"type":"always_allow"}}}}"#
            )
        );
        assert_eq!(
            Emitted::Running.public(&id).get(),
            format!(r#"{{"id":"{id}","type":"session.status_running"}}"#)
        );
    }
}
