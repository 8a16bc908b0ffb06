//! Inputs of tool calls as models and gateways write them. What can be read in one way only is read.

use serde_json::value::RawValue;

use crate::raw;

/// The JSON object that a text holds, byte for byte: as it is, or written as a JSON string, or in a code fence. `None`
/// when there is none.
pub(crate) fn object(text: &str) -> Option<String> {
    let text = unfenced(text.trim());
    if is_object(text) {
        return Some(text.to_owned());
    }
    // A string that holds an object is not ambiguous: some servers encode twice.
    let decoded = text.starts_with('"').then(|| raw::decode(text)).flatten()?;
    let decoded = decoded.trim();
    is_object(decoded).then(|| decoded.to_owned())
}

fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn unfenced(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}
