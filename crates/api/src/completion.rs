//! One request to a model and its reply: the boundary between the brain, which decides what is asked, and the
//! providers, which carry it.
//!
//! Content stays raw JSON in the shape of the Messages API, so that thinking signatures, citations and block types
//! that this version has never heard of come back to the model byte for byte, and the prefix of a conversation is the
//! same bytes in every request (which is what prompt caches match on). Providers of another shape translate.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

/// What is asked of a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Model id as the agent names it; the configuration routes it to a provider.
    pub model: String,
    /// `standard` or `fast`; `None` leaves it to the provider.
    pub speed: Option<String>,
    /// `low` … `max`; `None` leaves it to the provider.
    pub effort: Option<String>,
    /// The system prompt; empty when there is none.
    pub system: String,
    /// Tool definitions, each a JSON object `{name, description, input_schema}`.
    pub tools: Vec<Arc<RawValue>>,
    /// The conversation, oldest first. Roles alternate, starting with the user.
    pub messages: Vec<Message>,
}

/// One message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose turn it is.
    pub role: Role,
    /// Content blocks, each a JSON object.
    pub content: Vec<Arc<RawValue>>,
}

/// Side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user, and results of tools.
    User,
    /// The model.
    Assistant,
}

/// What arrives while a reply is being made. `index` counts the reply's content blocks from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A block begins; `kind` is its type, such as `text`, `thinking` or `tool_use`.
    BlockStart {
        /// Position among the blocks of the reply.
        index: usize,
        /// The block's `type`.
        kind: String,
    },
    /// Text was added to a `text` block.
    Text {
        /// Position among the blocks of the reply.
        index: usize,
        /// The added text, never empty.
        text: String,
    },
}

/// A complete reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Content blocks, each a JSON object as the provider sent it.
    pub blocks: Vec<Arc<RawValue>>,
    /// `end_turn`, `tool_use`, `max_tokens`, `stop_sequence`, `pause_turn`, `refusal`, or what the provider invents.
    pub stop_reason: String,
    /// Details that came with the stop reason, such as a refusal's category; a JSON object.
    pub stop_details: Option<Arc<RawValue>>,
    /// What it cost.
    pub usage: Usage,
    /// The model that answered, when the provider says so.
    pub model: Option<String>,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read_input_tokens: u64,
    /// Input tokens written to the prompt cache, five-minute lifetime.
    pub cache_creation_5m_input_tokens: u64,
    /// Input tokens written to the prompt cache, one-hour lifetime.
    pub cache_creation_1h_input_tokens: u64,
}

/// Why a request brought no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure, which decides about retries and about the event that clients see.
    pub kind: FailureKind,
    /// For people: what was asked of whom and what came back. No secret, no prompt.
    pub message: String,
    /// How long the provider wants us to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// 529, or an `overloaded_error` in the stream. Transient.
    Overloaded,
    /// 429. Transient.
    RateLimited,
    /// 5xx, refused or broken connection, time-out, a stream that ends before its end. Transient.
    Unavailable,
    /// 402, or the provider says that the account cannot pay. Final.
    Billing,
    /// 400, 401, 403, 404, 413, no provider for the model, or a reply that makes no sense. Final.
    Rejected,
}

impl FailureKind {
    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Overloaded | Self::RateLimited | Self::Unavailable => true,
            Self::Billing | Self::Rejected => false,
        }
    }
}
