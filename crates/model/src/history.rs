//! What of a conversation may be sent to a provider.
//!
//! A log holds what models, gateways, tools, files and clients of any time have put into it, and one block that a provider
//! refuses would make every later request of the session fail. So each request passes through here: blank text, foreign
//! thinking, unknown fields, ids and names that do not match the pattern, inputs that are no objects, results without calls
//! and calls without results, messages without content. The log itself keeps what was said.
//!
//! Invariants: the output depends on nothing but the conversation and the protocol. What becomes of a message depends on it
//! and on those before it, except that the number of images is bounded over the whole request, so the request of a grown
//! conversation begins with the same bytes. What is valid keeps its bytes.

mod block;
mod ids;
mod media;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::completion::Message;
use api::completion::Role;
use serde_json::json;
use serde_json::value::RawValue;

use crate::raw;
use crate::raw::Fields;

use ids::Ids;
use media::Media;

/// Whose rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The Messages API.
    Messages,
    /// Chat completions, before they are translated into that format.
    Chat,
}

/// Stands for a message of the user that says nothing.
const EMPTY: &str = "(empty message)";
/// Stands for the result of a call that has none.
const MISSING: &str = "No result of this call was recorded.";
/// Stands before a result whose call is not in the conversation.
const ORPHAN: &str = "[result of a call that is not part of this conversation]";

/// A call of the last message of the model.
struct Call {
    /// The id in the log.
    id: String,
    /// The id that is sent.
    sent: String,
    result: Option<Arc<RawValue>>,
}

/// The conversation as it is sent. Roles alternate, starting with the user.
pub(crate) fn filter(messages: &[Message], protocol: Protocol) -> Vec<Message> {
    let mut filter = Filter {
        protocol,
        ids: Ids::default(),
        media: Media::count(messages),
        calls: Vec::new(),
        sent: Vec::new(),
    };
    for message in messages {
        match message.role {
            Role::Assistant => filter.assistant(&message.content),
            Role::User => filter.user(&message.content),
        }
    }
    filter.close_calls();
    filter.sent
}

struct Filter {
    protocol: Protocol,
    ids: Ids,
    media: Media,
    /// Those whose results have not been sent yet.
    calls: Vec<Call>,
    sent: Vec<Message>,
}

impl Filter {
    fn assistant(&mut self, content: &[Arc<RawValue>]) {
        self.close_calls();
        let mut blocks = Vec::with_capacity(content.len());
        for block in content {
            let Some(fields) = Fields::of(block) else { continue };
            match fields.string("type").as_deref() {
                Some("text") => blocks.extend(block::text(block, &fields)),
                Some("thinking" | "redacted_thinking") => {
                    blocks.extend(block::thinking(block, &fields, self.protocol));
                }
                Some("tool_use") => {
                    let id = fields.string("id").unwrap_or_default().into_owned();
                    let sent = self.ids.of_call(&id);
                    blocks.push(block::call(block, &fields, &sent));
                    self.calls.push(Call { id, sent, result: None });
                }
                // A block of the future, or of a tool of the provider's own: only the Messages API may know it.
                Some(_) if self.protocol == Protocol::Messages => blocks.push(Arc::clone(block)),
                Some(_) | None => {}
            }
        }
        // Thinking leads to something: a message is not made of it alone, and in the Messages API it is not its end.
        let end = blocks.iter().rposition(|block| !block::is_thinking(block)).map_or(0, |last| last + 1);
        if self.protocol == Protocol::Messages || end == 0 {
            blocks.truncate(end);
        }
        if blocks.is_empty() {
            return;
        }
        if self.sent.is_empty() {
            self.push(Role::User, vec![said(EMPTY)]);
        }
        self.push(Role::Assistant, blocks);
    }

    fn user(&mut self, content: &[Arc<RawValue>]) {
        let mut rest = Vec::new();
        for block in content {
            let Some(fields) = Fields::of(block) else { continue };
            if fields.string("type").as_deref() != Some("tool_result") {
                rest.extend(block::of_user(block, &fields, &mut self.media));
                continue;
            }
            let id = fields.string("tool_use_id").unwrap_or_default();
            // Calls of one id have their results in the order of the calls.
            let call = self.calls.iter_mut().find(|call| call.result.is_none() && call.id == id);
            if let Some(call) = call {
                call.result = Some(block::result(block, &fields, &call.sent, &mut self.media));
            } else {
                rest.push(said(ORPHAN));
                rest.extend(block::content(&fields, &mut self.media));
            }
        }
        let mut content = self.results();
        content.append(&mut rest);
        if content.is_empty() {
            content.push(said(EMPTY));
        }
        self.push(Role::User, content);
    }

    /// A message of the model, or the end, comes before the results of the last calls.
    fn close_calls(&mut self) {
        let results = self.results();
        if !results.is_empty() {
            self.push(Role::User, results);
        }
    }

    /// The results of the open calls, in the order of the calls.
    fn results(&mut self) -> Vec<Arc<RawValue>> {
        let missing = |sent: &str| {
            let content = [json!({"type": "text", "text": MISSING})];
            written(
                &json!({"type": "tool_result", "tool_use_id": sent, "content": content, "is_error": true}),
            )
        };
        let calls = std::mem::take(&mut self.calls).into_iter();
        calls.map(|call| call.result.unwrap_or_else(|| missing(&call.sent))).collect()
    }

    /// Neighbours of one role become one message.
    fn push(&mut self, role: Role, content: Vec<Arc<RawValue>>) {
        match self.sent.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            _ => self.sent.push(Message { role, content }),
        }
    }
}

/// A block of text of our own.
fn said(text: &str) -> Arc<RawValue> {
    written(&json!({"type": "text", "text": text}))
}

fn written(value: &serde_json::Value) -> Arc<RawValue> {
    raw::block(value.to_string()).expect("it was just written as JSON").into()
}
