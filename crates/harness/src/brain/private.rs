//! Private parts of entries: what recovery and the model's context need and clients must not see.
//!
//! Every field has a default, so that a log written by an older version still folds.

use std::sync::Arc;

use api::completion::Usage;
use api::ids::EventId;
use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use super::request::Purpose;

/// With `agent.thinking`, `agent.message`, `agent.tool_use` and `journal.block`: the model's own blocks, byte for byte.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Blocks {
    #[serde(default)]
    pub(crate) blocks: Vec<Arc<RawValue>>,
}

/// With `span.model_request_start`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RequestStart {
    #[serde(default)]
    pub(crate) purpose: Purpose,
}

/// With `journal.call_answered`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The client's event.
    #[serde(default)]
    pub(crate) answer: Option<EventId>,
}

/// With `span.model_request_end`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RequestEnd {
    /// The model's stop reason; empty when there was no reply.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) stop_reason: String,
    /// The model's stop details, as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_details: Option<Arc<RawValue>>,
    /// Whether a reply came. Without one nothing of the request enters the conversation.
    #[serde(default)]
    pub(crate) has_reply: bool,
    /// Tokens.
    #[serde(default)]
    pub(crate) usage: Usage,
    /// List cost in millionths of a cent; absent when the model has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost_microcents: Option<i64>,
}

/// With `session.error`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ErrorNote {
    /// When the request is asked again; absent when it will not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_at: Option<Timestamp>,
    /// There is no sandbox. The turn goes on without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_of_sandbox: bool,
}

/// With `journal.input_processed`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Processed {
    /// The input was thrown away with a turn that died, and never reaches the model.
    #[serde(default)]
    pub(crate) is_dropped: bool,
}

/// With `journal.call_unstarted`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Unstarted {
    /// The `agent.tool_use` event.
    #[serde(default)]
    pub(crate) call: Option<EventId>,
}

/// The part of a model's `tool_use` block that the loop needs.
#[derive(Debug, Deserialize)]
pub(crate) struct ToolUseBlock {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) input: Option<Arc<RawValue>>,
}

/// The part of any block that tells what it is.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct BlockHead {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) text: Option<String>,
}

/// Reads a private part. One that does not parse counts as empty: a log must always fold.
pub(crate) fn read<T: Default + for<'de> Deserialize<'de>>(private: Option<&Arc<RawValue>>) -> T {
    private.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}
