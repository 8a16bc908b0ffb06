//! Translation of a request into the body of an OpenAI-compatible chat completion.
//!
//! Results of tools become messages of their own, right after the calls, as the format demands; images that a result
//! holds follow in a message of the user, because most servers take none in a result. What the format cannot say is
//! named in a short text instead of being dropped without a word. Tool inputs and schemas pass through as text.

use std::fmt::Write as _;

use api::completion::Message;
use api::completion::Request;
use api::completion::Role;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::config::ChatConfig;
use crate::config::MaxTokensField;
use crate::config::SendReasoning;
use crate::raw;
use crate::raw::Fields;

/// Why writing to a string cannot fail.
const INFALLIBLE: &str = "a string takes any text";

/// Writes the body; `conversation` is what is sent of the log.
pub(crate) fn body(
    request: &Request,
    conversation: &[Message],
    model: &str,
    max_tokens: Option<u64>,
    config: &ChatConfig,
) -> String {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}).to_string());
    }
    for message in conversation {
        match message.role {
            Role::User => push_user(&mut messages, message),
            Role::Assistant => messages.push(assistant(message, config)),
        }
    }
    let mut out = format!("{{\"model\":{},\"stream\":true", raw::quote(model));
    if config.stream_options {
        out.push_str(",\"stream_options\":{\"include_usage\":true}");
    }
    if let Some(max_tokens) = max_tokens {
        let field = match config.max_tokens_field {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        write!(out, ",\"{field}\":{max_tokens}").expect(INFALLIBLE);
    }
    if let Some(effort) = request.effort.as_deref().filter(|_| config.send_effort) {
        let effort = if ["low", "medium"].contains(&effort) { effort } else { "high" };
        write!(out, ",\"reasoning_effort\":\"{effort}\"").expect(INFALLIBLE);
    }
    if !request.tools.is_empty() {
        let tools: Vec<String> = request.tools.iter().map(|definition| tool(definition)).collect();
        write!(out, ",\"tools\":[{}]", tools.join(",")).expect(INFALLIBLE);
    }
    write!(out, ",\"messages\":[{}]}}", messages.join(",")).expect(INFALLIBLE);
    out
}

fn tool(definition: &RawValue) -> String {
    let fields = Fields::of(definition).unwrap_or_default();
    let member = |name: &str, default| fields.get(name).map_or(default, RawValue::get);
    format!(
        "{{\"type\":\"function\",\"function\":{{\"name\":{},\"description\":{},\"parameters\":{}}}}}",
        member("name", "\"\""),
        member("description", "\"\""),
        member("input_schema", "{\"type\":\"object\"}"),
    )
}

fn assistant(message: &Message, config: &ChatConfig) -> String {
    let (mut text, mut calls) = (String::new(), Vec::new());
    let mut thinking: Option<(String, String)> = None;
    for block in &message.content {
        let fields = Fields::of(block).unwrap_or_default();
        let string = |name: &str| fields.string(name).unwrap_or_default();
        match string("type").as_ref() {
            "text" => text.push_str(&string("text")),
            "thinking" => {
                let field = string("field").into_owned();
                thinking.get_or_insert_with(|| (field, String::new())).1.push_str(&string("thinking"));
            }
            "tool_use" => {
                let input = fields.get("input").map_or("{}", RawValue::get);
                calls.push(json!({"id": string("id"), "type": "function",
                    "function": {"name": string("name"), "arguments": input}}));
            }
            // A block of another provider, which this one could not read.
            _ => {}
        }
    }
    let mut object = json!({"role": "assistant"});
    object["content"] = if text.is_empty() && config.null_content { Value::Null } else { text.into() };
    // Servers that think between calls want their own thinking back, and no more than that.
    let is_wanted = match config.send_reasoning {
        SendReasoning::Calls => !calls.is_empty(),
        SendReasoning::Always => true,
        SendReasoning::Never => false,
    };
    if let Some((field, thinking)) = thinking.filter(|_| is_wanted) {
        object[field] = thinking.into();
    }
    if !calls.is_empty() {
        object["tool_calls"] = calls.into();
    }
    object.to_string()
}

fn push_user(messages: &mut Vec<String>, message: &Message) {
    let mut parts = Vec::new();
    for block in &message.content {
        let block: Value = serde_json::from_str(block.get()).unwrap_or_default();
        if block["type"] != "tool_result" {
            parts.push(part(&block));
            continue;
        }
        let (mut text, images) = result(&block["content"]);
        if block["is_error"] == true {
            text = format!("Error: {text}");
        }
        messages
            .push(json!({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}).to_string());
        parts.extend(images);
    }
    if parts.is_empty() {
        return;
    }
    let texts: Option<Vec<&str>> = parts.iter().map(|part| part["text"].as_str()).collect();
    // Many servers know text content as a string only.
    let content = texts.map_or_else(|| json!(parts), |texts| json!(texts.join("\n")));
    messages.push(json!({"role": "user", "content": content}).to_string());
}

/// The text of a tool result, and what has to follow in a message of the user.
fn result(content: &Value) -> (String, Vec<Value>) {
    if let Value::String(text) = content {
        return (text.clone(), Vec::new());
    }
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for block in content.as_array().into_iter().flatten() {
        let part = part(block);
        if let Some(text) = part["text"].as_str() {
            texts.push(text.to_owned());
        } else {
            texts.push("[the next message of the user shows what this tool returned]".to_owned());
            images.push(part);
        }
    }
    (texts.join("\n"), images)
}

/// One part of a user's message.
fn part(block: &Value) -> Value {
    let source = &block["source"];
    let data = || {
        let text = |name: &str| source[name].as_str().unwrap_or_default();
        format!("data:{};base64,{}", text("media_type"), text("data"))
    };
    match (block["type"].as_str().unwrap_or_default(), source["type"].as_str().unwrap_or_default()) {
        ("text", _) => json!({"type": "text", "text": block["text"]}),
        ("image", "base64") => json!({"type": "image_url", "image_url": {"url": data()}}),
        ("image", "url") => json!({"type": "image_url", "image_url": {"url": source["url"]}}),
        ("document", "text") => json!({"type": "text", "text": source["data"]}),
        ("document", "base64") => {
            let name = block["title"].as_str().unwrap_or("document.pdf");
            json!({"type": "file", "file": {"filename": name, "file_data": data()}})
        }
        (kind, _) => {
            json!({"type": "text", "text": format!("[a block of type {kind} cannot be shown to this model]")})
        }
    }
}
