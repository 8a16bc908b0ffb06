//! Results that the brain itself gives to calls, and what clients are told of a refusal.

use std::sync::Arc;

use api::emitted::Emitted;
use api::emitted::text_block;
use api::ids::EventId;
use api::ids::ThreadId;
use serde_json::value::RawValue;

use super::Draft;

/// The API's words for a call that an interrupt closed.
const INTERRUPTED: &str = "Tool execution was interrupted before completion. Please retry.";
const UNKNOWN: &str = "The server was restarted while this call was under way, and whether it took effect is unknown. \
    Check before doing it again.";
const LOST: &str = "The sandbox stopped while this call ran; whether the call took effect is unknown. The next call \
    starts a new sandbox with the same files.";

pub(crate) fn result(thread: &ThreadId, call: EventId, content: Vec<Arc<RawValue>>, is_error: bool) -> Draft {
    Draft::event(thread, Emitted::ToolResult { tool_use_id: call, content, is_error })
}

pub(crate) fn failed(thread: &ThreadId, call: EventId, text: &str) -> Draft {
    result(thread, call, vec![text_block(text)], true)
}

pub(crate) fn interrupted(thread: &ThreadId, call: EventId) -> Draft {
    failed(thread, call, INTERRUPTED)
}

/// The result of a call whose fate cannot be known.
pub(crate) fn unknown(thread: &ThreadId, call: EventId) -> Draft {
    failed(thread, call, UNKNOWN)
}

/// The result of a call during which the sandbox went away.
pub(crate) fn lost(thread: &ThreadId, call: EventId) -> Draft {
    failed(thread, call, LOST)
}

pub(crate) fn denied(thread: &ThreadId, call: EventId, message: Option<&str>) -> Draft {
    let text = match message {
        None | Some("") => "The user rejected this call, so it was not run.".to_owned(),
        Some(message) => format!("The user rejected this call, so it was not run: {message}"),
    };
    failed(thread, call, &text)
}

/// The wire's stop details out of the provider's, which may name a category that the wire does not know.
pub(crate) fn refusal(stop_details: Option<&RawValue>) -> Arc<RawValue> {
    const CATEGORIES: [&str; 5] = ["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"];
    #[derive(Default, serde::Deserialize)]
    struct Theirs {
        #[serde(default)]
        category: Option<String>,
        #[serde(default)]
        explanation: Option<String>,
    }
    #[derive(serde::Serialize)]
    struct Ours {
        #[serde(rename = "type")]
        kind: &'static str,
        category: Option<String>,
        explanation: Option<String>,
    }
    let theirs: Theirs =
        stop_details.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let category = theirs.category.filter(|category| CATEGORIES.contains(&category.as_str()));
    api::entry::raw(&Ours { kind: "refusal", category, explanation: theirs.explanation })
}
