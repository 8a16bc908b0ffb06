//! One block at a time: only known fields, only values that the protocol takes. What is valid already keeps its bytes.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::Protocol;
use super::ids;
use super::media::Media;
use super::media::Verdict;
use super::said;
use super::written;
use crate::raw;
use crate::raw::Fields;

/// Stands for the content of a result that has none.
const NO_OUTPUT: &str = "(no output)";

/// A text, unless it is blank.
pub(super) fn text(block: &Arc<RawValue>, fields: &Fields<'_>) -> Option<Arc<RawValue>> {
    let says_something = fields.string("text").is_some_and(|text| !text.trim().is_empty());
    says_something.then(|| only(block, fields, &["type", "text", "citations"]))
}

/// Thinking, when the provider can read it: signed for the Messages API, as a text for chat completions.
pub(super) fn thinking(
    block: &Arc<RawValue>,
    fields: &Fields<'_>,
    protocol: Protocol,
) -> Option<Arc<RawValue>> {
    let is_filled = |name: &str| fields.string(name).is_some_and(|text| !text.is_empty());
    let is_redacted = fields.string("type").as_deref() == Some("redacted_thinking");
    match (protocol, is_redacted) {
        (Protocol::Messages, true) => is_filled("data").then(|| only(block, fields, &["type", "data"])),
        (Protocol::Messages, false) => {
            let is_whole = is_filled("signature") && fields.string("thinking").is_some();
            is_whole.then(|| only(block, fields, &["type", "thinking", "signature"]))
        }
        (Protocol::Chat, true) => None,
        (Protocol::Chat, false) => is_filled("field").then(|| Arc::clone(block)),
    }
}

/// Whether the block is thinking.
pub(super) fn is_thinking(block: &RawValue) -> bool {
    let kind = Fields::of(block).and_then(|fields| fields.string("type").map(std::borrow::Cow::into_owned));
    matches!(kind.as_deref(), Some("thinking" | "redacted_thinking"))
}

/// A call under the id `sent`.
pub(super) fn call(block: &Arc<RawValue>, fields: &Fields<'_>, sent: &str) -> Arc<RawValue> {
    let name = fields.string("name").unwrap_or_default();
    let sent_name = ids::name(&name);
    let input = fields.get("input").map(RawValue::get).filter(|input| input.starts_with('{'));
    let is_valid = fields.string("id").as_deref() == Some(sent) && name == sent_name && input.is_some();
    if is_valid {
        return only(block, fields, &["type", "id", "name", "input"]);
    }
    let (id, name, input) = (raw::quote(sent), raw::quote(&sent_name), input.unwrap_or("{}"));
    block_of(format!("{{\"type\":\"tool_use\",\"id\":{id},\"name\":{name},\"input\":{input}}}"))
}

/// A result of the call with the id `sent`.
pub(super) fn result(
    block: &Arc<RawValue>,
    fields: &Fields<'_>,
    sent: &str,
    media: &mut Media,
) -> Arc<RawValue> {
    let mut content = content(fields, media);
    if content.is_empty() {
        content.push(said(NO_OUTPUT));
    }
    let content: Vec<&str> = content.iter().map(|block| block.get()).collect();
    let content = format!("[{}]", content.join(","));
    let is_error = fields.get("is_error").is_some_and(|flag| flag.get() == "true");
    let same_id = fields.string("tool_use_id").as_deref() == Some(sent);
    let same_content = fields.get("content").is_some_and(|before| before.get() == content);
    if same_id && same_content {
        return only(block, fields, &["type", "tool_use_id", "content", "is_error"]);
    }
    let (id, is_error) = (raw::quote(sent), if is_error { ",\"is_error\":true" } else { "" });
    block_of(format!("{{\"type\":\"tool_result\",\"tool_use_id\":{id},\"content\":{content}{is_error}}}"))
}

/// The blocks of a result's content.
pub(super) fn content(fields: &Fields<'_>, media: &mut Media) -> Vec<Arc<RawValue>> {
    let Some(content) = fields.get("content") else { return Vec::new() };
    if let Some(text) = raw::string(content) {
        return if text.trim().is_empty() { Vec::new() } else { vec![said(&text)] };
    }
    let blocks: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
    let blocks = blocks.into_iter().map(|block| Arc::from(block.to_owned()));
    blocks.filter_map(|block| of_user(&block, &Fields::of(&block)?, media)).collect()
}

/// A block of the user or of a result.
pub(super) fn of_user(
    block: &Arc<RawValue>,
    fields: &Fields<'_>,
    media: &mut Media,
) -> Option<Arc<RawValue>> {
    let kind = fields.string("type")?;
    match kind.as_ref() {
        "text" => text(block, fields),
        "image" | "document" => Some(match media.judge(&kind, fields) {
            Verdict::Keep if kind == "image" => only(block, fields, &["type", "source"]),
            Verdict::Keep => only(block, fields, &["type", "source", "title", "context", "citations"]),
            Verdict::Retype(media_type) => {
                let data = fields
                    .get("source")
                    .and_then(Fields::of)
                    .and_then(|source| source.get("data"))
                    .map_or("\"\"", RawValue::get);
                block_of(format!(
                    "{{\"type\":\"{kind}\",\"source\":{{\"type\":\"base64\",\"media_type\":\"{media_type}\",\"data\":{data}}}}}"
                ))
            }
            Verdict::Replace(text) => said(&text),
        }),
        "search_result" => Some(only(block, fields, &["type", "source", "title", "content", "citations"])),
        kind => Some(said(&format!("[a block of type {kind} was left out]"))),
    }
}

/// The block with nothing but these fields; those that are null are left out.
fn only(block: &Arc<RawValue>, fields: &Fields<'_>, known: &[&str]) -> Arc<RawValue> {
    let is_kept = |name: &str, value: &RawValue| known.contains(&name) && value.get() != "null";
    if fields.0.iter().all(|(name, value)| is_kept(name, value)) {
        return Arc::clone(block);
    }
    let kept = fields.0.iter().filter(|(name, value)| is_kept(name, value));
    let members: Vec<String> =
        kept.map(|(name, value)| format!("{}:{}", raw::quote(name), value.get())).collect();
    block_of(format!("{{{}}}", members.join(",")))
}

fn block_of(text: String) -> Arc<RawValue> {
    match raw::block(text) {
        Some(block) => block.into(),
        None => written(&serde_json::json!({"type": "text", "text": "[a block that cannot be read]"})),
    }
}
