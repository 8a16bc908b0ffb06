//! What real providers refuse of a request: the [model server](crate::model_server) answers 400 as they do.
//!
//! Rules of the Messages API are those of its reference and of the errors that it was seen to answer; those of chat
//! completions are what the strictest of the usual servers demand.

use std::collections::BTreeSet;

use serde_json::Value;

/// Why a provider of that path refuses the request; `None` when it takes it.
pub fn refusal(path: &str, body: &Value) -> Option<String> {
    let checked = if path.ends_with("/messages") { messages(body) } else { chat(body) };
    checked.err()
}

type Checked = Result<(), String>;

fn rule(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(message()) }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !text.is_empty() && text.len() <= chars_max && text.bytes().all(is_plain)
}

fn messages(body: &Value) -> Checked {
    let messages = items(&body["messages"]);
    rule(!messages.is_empty(), || "messages: at least one message is required".to_owned())?;
    let mut ids = BTreeSet::new();
    let mut media = 0;
    for (at, message) in messages.iter().enumerate() {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        rule(message["role"] == role, || format!("messages.{at}: roles must alternate, starting with user"))?;
        let content = items(&message["content"]);
        rule(!content.is_empty(), || format!("messages.{at}.content: must not be empty"))?;
        let before = at.checked_sub(1).map_or(&[][..], |before| items(&messages[before]["content"]));
        let called: Vec<&str> = before
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| text(&block["id"]))
            .collect();
        let answered: Vec<&str> = content
            .iter()
            .filter(|block| block["type"] == "tool_result")
            .map(|block| text(&block["tool_use_id"]))
            .collect();
        rule(called == answered, || {
            format!(
                "messages.{at}: `tool_use` ids {called:?} were found without `tool_result` blocks immediately after, or the other way round: {answered:?}"
            )
        })?;
        let first_other =
            content.iter().position(|block| block["type"] != "tool_result").unwrap_or(content.len());
        rule(first_other >= answered.len(), || format!("messages.{at}: `tool_result` blocks come first"))?;
        for (position, block) in content.iter().enumerate() {
            messages_block(block, role, &mut media)
                .map_err(|why| format!("messages.{at}.content.{position}: {why}"))?;
            if block["type"] == "tool_use" {
                rule(ids.insert(text(&block["id"])), || {
                    format!("messages.{at}: `tool_use` ids must be unique")
                })?;
            }
        }
        let is_thought = content.last().is_some_and(|last| text(&last["type"]).ends_with("thinking"));
        rule(role == "user" || !is_thought, || {
            format!("messages.{at}: The final block in an assistant message cannot be `thinking`.")
        })?;
    }
    rule(media <= 100, || "too many images and documents".to_owned())
}

fn messages_block(block: &Value, role: &str, media: &mut usize) -> Checked {
    let kind = text(&block["type"]);
    let (roles, fields): (&[&str], &[&str]) = match kind {
        "text" => (&["user", "assistant"], &["text", "citations"]),
        "image" => (&["user"], &["source"]),
        "document" => (&["user"], &["source", "title", "context", "citations"]),
        "search_result" => (&["user"], &["source", "title", "content", "citations"]),
        "tool_result" => (&["user"], &["tool_use_id", "content", "is_error"]),
        "thinking" => (&["assistant"], &["thinking", "signature"]),
        "redacted_thinking" => (&["assistant"], &["data"]),
        "tool_use" => (&["assistant"], &["id", "name", "input"]),
        // Blocks that tests invent stand for those of the future.
        _ => {
            return rule(role == "assistant" && !kind.is_empty(), || {
                format!("Input tag '{kind}' found using 'type' does not match any of the expected tags")
            });
        }
    };
    rule(roles.contains(&role), || format!("{kind}: not in a message of the {role}"))?;
    for (name, value) in block.as_object().into_iter().flatten() {
        let is_known = ["type", "cache_control"].contains(&name.as_str()) || fields.contains(&name.as_str());
        rule(is_known && !value.is_null(), || format!("{kind}.{name}: Extra inputs are not permitted"))?;
    }
    match kind {
        "text" => rule(!text(&block["text"]).trim().is_empty(), || {
            "text content blocks must contain non-whitespace text".to_owned()
        }),
        "thinking" => rule(block["thinking"].is_string() && !text(&block["signature"]).is_empty(), || {
            "Invalid `signature` in `thinking` block".to_owned()
        }),
        "redacted_thinking" => {
            rule(!text(&block["data"]).is_empty(), || "data: must not be empty".to_owned())
        }
        "tool_use" => {
            rule(is_plain(text(&block["id"]), 256), || {
                "id: String should match pattern '^[a-zA-Z0-9_-]+$'".to_owned()
            })?;
            rule(is_plain(text(&block["name"]), 128), || {
                "name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'".to_owned()
            })?;
            rule(block["input"].is_object(), || "input: Input should be a valid dictionary".to_owned())
        }
        "tool_result" => {
            let content = &block["content"];
            let is_failed = block["is_error"] == true;
            rule(!is_failed || !items(content).is_empty() || !text(content).is_empty(), || {
                "content: cannot be empty if `is_error` is true".to_owned()
            })?;
            items(content).iter().try_for_each(|block| messages_block(block, "user", media))
        }
        "image" | "document" => {
            *media += 1;
            let source = &block["source"];
            let data = text(&source["data"]);
            let is_honest = match text(&source["media_type"]) {
                "image/png" => data.starts_with("iVBORw0KGgo"),
                "image/jpeg" => data.starts_with("/9j/"),
                "image/gif" => data.starts_with("R0lGOD"),
                "image/webp" => data.starts_with("UklGR"),
                "application/pdf" => data.starts_with("JVBERi"),
                _ => kind == "document",
            };
            rule(source["type"] != "base64" || is_honest, || "Could not process image".to_owned())
        }
        _ => Ok(()),
    }
}

fn chat(body: &Value) -> Checked {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in items(&body["messages"]).iter().enumerate() {
        let role = text(&message["role"]);
        if role == "tool" {
            let id = text(&message["tool_call_id"]);
            rule(!open.is_empty() && open.remove(0) == id, || {
                format!("messages.{at}: a tool message answers no call, or not the next: {id}")
            })?;
            rule(!text(&message["content"]).trim().is_empty(), || {
                format!("messages.{at}: content must not be empty")
            })?;
            continue;
        }
        rule(open.is_empty(), || {
            format!("messages.{at}: tool_call_ids did not have response messages: {open:?}")
        })?;
        let calls = items(&message["tool_calls"]);
        let content = &message["content"];
        rule(!content.is_null(), || format!("messages.{at}: content must be a string"))?;
        let is_empty = content.as_str().is_some_and(|text| text.trim().is_empty())
            || content.as_array().is_some_and(Vec::is_empty);
        rule(!is_empty || !calls.is_empty(), || format!("messages.{at}: content must not be empty"))?;
        for call in calls {
            let (id, function) = (text(&call["id"]), &call["function"]);
            rule(is_plain(id, 64) && !open.contains(&id), || format!("messages.{at}: bad id {id}"))?;
            rule(is_plain(text(&function["name"]), 64), || {
                format!("messages.{at}: bad name {}", function["name"])
            })?;
            let arguments = serde_json::from_str::<Value>(text(&function["arguments"]));
            rule(arguments.is_ok_and(|arguments| arguments.is_object()), || {
                format!("messages.{at}: arguments are no object")
            })?;
            open.push(id);
        }
    }
    rule(open.is_empty(), || format!("tool_call_ids did not have response messages: {open:?}"))
}
