//! Events that the server makes, as clients see them (without `id` and `processed_at`, which are put in later).
//!
//! Shapes follow the `BetaManagedAgents…Event` models of the official SDK 2.12.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::completion::Usage;
use crate::entry::raw;
use crate::ids::EventId;
use crate::ids::ThreadId;

/// An event made by the server.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum Emitted {
    /// Sign of life from extended thinking; carries no content.
    #[serde(rename = "agent.thinking")]
    Thinking,
    /// Text from the agent.
    #[serde(rename = "agent.message")]
    Message {
        /// Text blocks.
        content: Vec<Arc<RawValue>>,
    },
    /// The agent calls a built-in tool. Durable before the tool runs: this is the intent.
    #[serde(rename = "agent.tool_use")]
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
    /// What the tool answered.
    #[serde(rename = "agent.tool_result")]
    ToolResult {
        /// The `agent.tool_use` event.
        tool_use_id: EventId,
        /// Content blocks.
        content: Vec<Arc<RawValue>>,
        /// Whether the call failed.
        is_error: bool,
    },
    /// The session works.
    #[serde(rename = "session.status_running")]
    Running,
    /// The session waits for input.
    #[serde(rename = "session.status_idle")]
    Idle {
        /// Why it stopped.
        stop_reason: StopReason,
        /// More about the reason; a JSON object.
        stop_details: Option<Arc<RawValue>>,
    },
    /// A transient failure; the session tries again by itself.
    #[serde(rename = "session.status_rescheduled")]
    Rescheduled,
    /// The session has ended.
    #[serde(rename = "session.status_terminated")]
    Terminated,
    /// A thread works.
    #[serde(rename = "session.thread_status_running")]
    ThreadRunning {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// A thread waits for input.
    #[serde(rename = "session.thread_status_idle")]
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
    #[serde(rename = "session.thread_status_rescheduled")]
    ThreadRescheduled {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// A thread has ended.
    #[serde(rename = "session.thread_status_terminated")]
    ThreadTerminated {
        /// Which thread.
        session_thread_id: ThreadId,
        /// Name of its agent.
        agent_name: String,
    },
    /// What the session has used so far.
    #[serde(rename = "session.usage")]
    Usage {
        /// A JSON object, the snapshot.
        usage: Arc<RawValue>,
        /// Always null until budgets are built.
        budget: Option<Arc<RawValue>>,
    },
    /// Something went wrong.
    #[serde(rename = "session.error")]
    Error {
        /// What, and what happens next.
        error: SessionError,
    },
    /// A client changed the session.
    #[serde(rename = "session.updated")]
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
    #[serde(rename = "session.deleted")]
    Deleted,
    /// A model request begins.
    #[serde(rename = "span.model_request_start")]
    RequestStart,
    /// A model request has ended, well or not.
    #[serde(rename = "span.model_request_end")]
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
    /// Refuse it.
    Deny,
}

/// The policy that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Evaluation {
    /// The tool always runs.
    AlwaysAllow,
}

/// Why a thread or session went idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// The agent is done, or was interrupted.
    EndTurn,
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
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Thinking => "agent.thinking",
            Self::Message { .. } => "agent.message",
            Self::ToolUse { .. } => "agent.tool_use",
            Self::ToolResult { .. } => "agent.tool_result",
            Self::Running => "session.status_running",
            Self::Idle { .. } => "session.status_idle",
            Self::Rescheduled => "session.status_rescheduled",
            Self::Terminated => "session.status_terminated",
            Self::ThreadRunning { .. } => "session.thread_status_running",
            Self::ThreadIdle { .. } => "session.thread_status_idle",
            Self::ThreadRescheduled { .. } => "session.thread_status_rescheduled",
            Self::ThreadTerminated { .. } => "session.thread_status_terminated",
            Self::Usage { .. } => "session.usage",
            Self::Error { .. } => "session.error",
            Self::Updated { .. } => "session.updated",
            Self::Deleted => "session.deleted",
            Self::RequestStart => "span.model_request_start",
            Self::RequestEnd { .. } => "span.model_request_end",
        }
    }

    /// The event as it is stored: with its id, without `processed_at`.
    pub fn public(&self, id: &EventId) -> Arc<RawValue> {
        #[derive(Serialize)]
        struct WithId<'a> {
            id: &'a EventId,
            #[serde(flatten)]
            event: &'a Emitted,
        }
        raw(&WithId { id, event: self })
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
        assert_eq!(event.kind(), "agent.tool_use");
    }
}
