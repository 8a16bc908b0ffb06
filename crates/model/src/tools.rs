//! The names of the tools that a request offers.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The names.
#[derive(Debug)]
pub(crate) struct Tools(Vec<String>);

impl Tools {
    /// Those of the definitions in a request.
    pub(crate) fn of(definitions: &[Arc<RawValue>]) -> Self {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let named = definitions.iter().filter_map(|tool| serde_json::from_str::<Named>(tool.get()).ok());
        Self(named.map(|tool| tool.name).collect())
    }

    /// The tool that a name stands for: without the marks of a chat template around it, if only that way it is a tool.
    pub(crate) fn meant<'a>(&self, name: &'a str) -> &'a str {
        let is_tool = |name: &str| self.0.iter().any(|tool| tool == name);
        let bare = name.split("<|").find(|part| !part.is_empty()).unwrap_or(name).trim();
        let bare = bare.strip_prefix("functions.").unwrap_or(bare);
        if !is_tool(name) && is_tool(bare) { bare } else { name }
    }
}
