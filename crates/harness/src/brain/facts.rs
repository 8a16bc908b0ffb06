//! What the brain knows of a session besides its history: the private part of the log's first entry.

use api::ids::ThreadId;
use serde::Deserialize;
use serde::Serialize;

/// The agent as the loop needs it. A client's update of the session replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The primary thread.
    pub thread: ThreadId,
    /// The agent's name, told in thread events.
    pub agent_name: String,
    /// Model id.
    pub model: String,
    /// `standard` or `fast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// `low` … `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// System prompt of the agent; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Names of the enabled built-in tools, in the order in which the model is told of them.
    pub tools: Vec<String>,
}
