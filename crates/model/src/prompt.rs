//! The body of a Messages API request, written as text around the blocks' own bytes.
//!
//! Invariant, which prompt caches live on: the request of a grown conversation starts with the same bytes as the one
//! before, but for `cache_control` marks. What may vary comes first and is fixed per agent; the messages come last.
//!
//! Up to four marks are set: on the last tool, on the system prompt, and on the last two messages of the user. The
//! older of these two is where the previous request wrote its cache, so the next one finds it however far it grew.

use std::fmt::Write as _;

use api::completion::Message;
use api::completion::Request;
use api::completion::Role;
use serde_json::value::RawValue;

use crate::config::PromptCache;
use crate::raw;
use crate::raw::Fields;

/// What the configuration adds to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// The id that the provider knows.
    pub(crate) model: &'a str,
    /// Output limit.
    pub(crate) max_tokens: u64,
    /// `adaptive`, `disabled`, or nothing said.
    pub(crate) thinking: Option<&'static str>,
    /// Effort, as far as the provider takes one.
    pub(crate) effort: Option<&'a str>,
    /// Lifetime of the cache.
    pub(crate) cache: PromptCache,
}

/// Why writing to a string cannot fail.
const INFALLIBLE: &str = "a string takes any text";
/// Marked messages of the user.
const MARKED_MESSAGES_MAX: usize = 2;

/// Writes the body; `messages` is the conversation as it is sent.
pub(crate) fn body(request: &Request, messages: &[Message], settings: &Settings<'_>) -> String {
    let mark = mark(settings.cache);
    let mut out = String::with_capacity(size(request, messages));
    out.push_str("{\"model\":");
    raw::push_quoted(&mut out, settings.model);
    write!(out, ",\"max_tokens\":{},\"stream\":true", settings.max_tokens).expect(INFALLIBLE);
    if let Some(thinking) = settings.thinking {
        write!(out, ",\"thinking\":{{\"type\":\"{thinking}\"}}").expect(INFALLIBLE);
    }
    if let Some(effort) = settings.effort {
        write!(out, ",\"output_config\":{{\"effort\":{}}}", raw::quote(effort)).expect(INFALLIBLE);
    }
    if let Some(speed) = request.speed.as_deref().filter(|speed| *speed != "standard") {
        write!(out, ",\"speed\":{}", raw::quote(speed)).expect(INFALLIBLE);
    }
    if let Some((last, others)) = request.tools.split_last() {
        out.push_str(",\"tools\":[");
        for tool in others {
            out.push_str(tool.get());
            out.push(',');
        }
        push_marked(&mut out, last, mark);
        out.push(']');
    }
    if !request.system.is_empty() {
        out.push_str(",\"system\":[{\"type\":\"text\",\"text\":");
        raw::push_quoted(&mut out, &request.system);
        out.push_str(mark.unwrap_or_default());
        out.push_str("}]");
    }
    push_messages(&mut out, messages, mark);
    out.push('}');
    out
}

/// The text that is put in front of a block's closing brace.
fn mark(cache: PromptCache) -> Option<&'static str> {
    match cache {
        PromptCache::Off => None,
        PromptCache::FiveMinutes => Some(r#","cache_control":{"type":"ephemeral"}"#),
        PromptCache::OneHour => Some(r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#),
    }
}

fn push_messages(out: &mut String, messages: &[Message], mark: Option<&str>) {
    let markable = |(at, message): (usize, &Message)| {
        let block = message.content.iter().rposition(|block| takes_mark(block))?;
        (message.role == Role::User).then_some((at, block))
    };
    let marked: Vec<_> =
        messages.iter().enumerate().rev().filter_map(markable).take(MARKED_MESSAGES_MAX).collect();
    out.push_str(",\"messages\":[");
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(match message.role {
            Role::User => "{\"role\":\"user\",\"content\":[",
            Role::Assistant => "{\"role\":\"assistant\",\"content\":[",
        });
        for (position, block) in message.content.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            let mark = mark.filter(|_| marked.contains(&(at, position)));
            push_marked(out, block, mark);
        }
        out.push_str("]}");
    }
    out.push(']');
}

/// Whether the API accepts a mark on the block: not on thinking, not on empty text, not twice.
fn takes_mark(block: &RawValue) -> bool {
    let Some(fields) = Fields::of(block) else {
        return false;
    };
    let kind = fields.string("type").unwrap_or_default();
    let is_empty = kind == "text" && fields.string("text").is_none_or(|text| text.is_empty());
    let is_thinking = kind == "thinking" || kind == "redacted_thinking";
    !is_empty && !is_thinking && fields.get("cache_control").is_none()
}

fn push_marked(out: &mut String, object: &RawValue, mark: Option<&str>) {
    match (mark, object.get().strip_suffix('}')) {
        (Some(mark), Some(open)) if takes_mark(object) => {
            out.push_str(open);
            out.push_str(mark);
            out.push('}');
        }
        _ => out.push_str(object.get()),
    }
}

fn size(request: &Request, messages: &[Message]) -> usize {
    let blocks = messages.iter().flat_map(|message| &message.content).chain(&request.tools);
    blocks.map(|block| block.get().len() + 64).sum::<usize>() + request.system.len() + 512
}
