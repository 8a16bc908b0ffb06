//! The request that the model gets: a pure function of the log.
//!
//! The conversation only ever grows at its end, and everything before it is fixed per session, so that two requests
//! in a row share their prefix byte for byte and the provider's prompt cache hits.

use api::completion::Request;

use super::state::State;
use super::tools;

/// What the runtime tells every agent, after the agent's own system prompt.
const RUNTIME_NOTE: &str = "You work in a Linux sandbox of your own. The working directory is /workspace. Files that \
    the user gave you are under /mnt/session/uploads (read-only). Put files that the user should get into \
    /mnt/session/outputs. The sandbox has no network access.";

/// The next request; `None` before the session's first entry.
pub fn context(state: &State) -> Option<Request> {
    let facts = state.facts.as_ref()?;
    let system = match facts.system.as_str() {
        "" => RUNTIME_NOTE.to_owned(),
        own => format!("{own}\n\n{RUNTIME_NOTE}"),
    };
    Some(Request {
        model: facts.model.clone(),
        speed: facts.speed.clone(),
        effort: facts.effort.clone(),
        system: if facts.tools.is_empty() { facts.system.clone() } else { system },
        tools: facts.tools.iter().filter_map(|name| tools::definition(name)).collect(),
        messages: state.conversation.clone(),
    })
}
