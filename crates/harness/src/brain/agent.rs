//! The agent as the loop needs it: the private part of a thread's first entry.
//!
//! Everything that the model is told of its agent, tools and sandbox stands here, so that a request is a function of the
//! log: a new version of the server words nothing differently in the middle of a conversation.

use std::sync::Arc;

use api::tools::Policy;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::value::RawValue;

use super::definitions;
use super::runtime::RuntimeFacts;

/// The agent of a thread. A client's update of the session replaces that of the primary thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// Shown in thread events.
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
    /// What the model may call, in the order in which it sees the definitions.
    #[serde(deserialize_with = "read_tools")]
    pub tools: Vec<ToolEntry>,
    /// What the runtime tells the model of its sandbox.
    #[serde(default)]
    pub runtime: RuntimeFacts,
}

/// A tool, resolved: what the model sees, who allows a call, and where it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolEntry {
    /// The name by which the model calls it.
    pub name: String,
    /// `{name, description, input_schema}`, as the model gets it.
    pub definition: Arc<RawValue>,
    /// Who allows a call; `None` for tools to which no policy applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Where calls run.
    pub runs: Runs,
    /// Whether a call changes nothing, so that it may overlap with others.
    #[serde(default)]
    pub is_read_only: bool,
}

/// Where a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// In the session's sandbox.
    Sandbox,
    /// At the client, which sends the result.
    Client,
}

impl AgentSnapshot {
    /// The tool of this name.
    pub(crate) fn tool(&self, name: &str) -> Option<&ToolEntry> {
        self.tools.iter().find(|tool| tool.name == name)
    }
}

impl ToolEntry {
    /// A built-in tool of the sandbox; `None` when no tool of that name runs there.
    pub fn in_sandbox(name: &str, policy: Policy) -> Option<Self> {
        let definition = definitions::definition(name)?;
        let is_read_only = api::tools::ToolName::parse(name).is_some_and(api::tools::ToolName::is_read_only);
        Some(Self {
            name: name.to_owned(),
            definition,
            policy: Some(policy),
            runs: Runs::Sandbox,
            is_read_only,
        })
    }

    /// A tool that the client runs.
    pub fn at_client(tool: &api::custom_tools::CustomTool) -> Self {
        let definition = api::entry::raw(tool);
        let name = tool.name.clone();
        Self { name, definition, policy: None, runs: Runs::Client, is_read_only: false }
    }
}

/// Reads the tools. Logs of earlier versions hold bare names of tools of the sandbox.
fn read_tools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ToolEntry>, D::Error> {
    let raws: Vec<&RawValue> = Deserialize::deserialize(deserializer)?;
    let read = |raw: &RawValue| match serde_json::from_str::<String>(raw.get()) {
        Ok(name) => Ok(ToolEntry::in_sandbox(&name, Policy::AlwaysAllow)),
        Err(_) => serde_json::from_str(raw.get()).map(Some).map_err(serde::de::Error::custom),
    };
    raws.into_iter().filter_map(|raw| read(raw).transpose()).collect()
}
