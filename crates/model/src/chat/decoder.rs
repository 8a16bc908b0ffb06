//! The reply of a chat completion, put together from its chunks.
//!
//! The format is loose, and so is the decoder: tool calls may come in pieces, whole, in parallel, without an index, all
//! with the same index, or without an id; counts may come with the last choice or after it; `[DONE]` may be missing once
//! a finish reason was given; errors may stand in the chunk, in the choice or in the delta. The blocks come out in the
//! order in which they began.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Usage;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use super::call::Call;
use crate::counts::count;
use crate::ending;
use crate::limits::BLOCKS_MAX;
use crate::raw;
use crate::tools::Tools;
use crate::upstream::Upstream;

/// Members under which servers send reasoning.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// A reply that is being made.
pub(crate) struct Decoder<'a> {
    upstream: &'a Upstream,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    tools: Tools,
    blocks: Vec<Block>,
    finish_reason: Option<String>,
    model: Option<String>,
    usage: Usage,
    is_done: bool,
}

/// A block that is not complete yet.
enum Block {
    Text(String),
    /// `field` is the member in which the server sent it.
    Thinking {
        text: String,
        field: &'static str,
    },
    Call(Call),
}

impl<'a> Decoder<'a> {
    /// `tools` are the definitions that the request holds.
    pub(crate) fn new(
        upstream: &'a Upstream,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
        tools: &[Arc<RawValue>],
    ) -> Self {
        Self {
            upstream,
            progress,
            tools: Tools::of(tools),
            blocks: Vec::new(),
            finish_reason: None,
            model: None,
            usage: Usage::default(),
            is_done: false,
        }
    }

    /// The server says that nothing more comes.
    pub(crate) fn done(&mut self) {
        self.is_done = true;
    }

    /// Takes a chunk. True when it brought content.
    pub(crate) fn take(&mut self, data: &str) -> Result<bool, Failure> {
        let chunk: Value = serde_json::from_str(data).map_err(|_| self.unreadable("a chunk is not JSON"))?;
        let choice = chunk["choices"].as_array().and_then(|choices| choices.first()).unwrap_or(&Value::Null);
        // A server that does not stream sends the whole message.
        let delta = choice.get("delta").unwrap_or_else(|| &choice["message"]);
        for holder in [&chunk, choice, delta] {
            if holder.get("error").is_some_and(|error| !error.is_null()) {
                return Err(self.upstream.error_in_stream(&holder.to_string()));
            }
        }
        if chunk["object"] == "error" {
            return Err(self.upstream.error_in_stream(data));
        }
        if let Some(model) = chunk["model"].as_str().filter(|model| !model.is_empty()) {
            self.model = Some(model.to_owned());
        }
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
        }
        self.take_delta(delta)
    }

    fn take_delta(&mut self, delta: &Value) -> Result<bool, Failure> {
        let mut has_content = false;
        if let Some((field, text)) =
            REASONING.iter().find_map(|field| Some((*field, delta[*field].as_str()?)))
        {
            has_content |= self.think(field, text);
        }
        match &delta["content"] {
            Value::Array(parts) => {
                for text in parts.iter().filter_map(|part| part["text"].as_str()) {
                    has_content |= self.say(text);
                }
            }
            content => has_content |= self.say(content.as_str().unwrap_or_default()),
        }
        has_content |= self.say(delta["refusal"].as_str().unwrap_or_default());
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(piece);
            has_content = true;
        }
        if self.blocks.len() > BLOCKS_MAX {
            return Err(self.unreadable("there are too many blocks"));
        }
        Ok(has_content)
    }

    fn start(&mut self, kind: &str, block: Block) {
        (self.progress)(Progress::BlockStart { index: self.blocks.len(), kind: kind.to_owned() });
        self.blocks.push(block);
    }

    fn think(&mut self, field: &'static str, more: &str) -> bool {
        match self.blocks.last_mut() {
            _ if more.is_empty() => return false,
            Some(Block::Thinking { text, field: _ }) => text.push_str(more),
            Some(Block::Text(_) | Block::Call(_)) | None => {
                self.start("thinking", Block::Thinking { text: more.to_owned(), field });
            }
        }
        true
    }

    fn say(&mut self, more: &str) -> bool {
        match self.blocks.last_mut() {
            _ if more.is_empty() => return false,
            Some(Block::Text(text)) => text.push_str(more),
            Some(Block::Thinking { .. } | Block::Call(_)) | None => {
                self.start("text", Block::Text(more.to_owned()));
            }
        }
        (self.progress)(Progress::Text { index: self.blocks.len() - 1, text: more.to_owned() });
        true
    }

    fn call(&mut self, piece: &Value) {
        let found = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Call(call) if call.takes(piece) => Some(call),
            Block::Call(_) | Block::Text(_) | Block::Thinking { .. } => None,
        });
        match found {
            Some(call) => call.grow(piece),
            None => self.start("tool_use", Block::Call(Call::start(piece))),
        }
    }

    /// `turn` is what ids of calls without one are made of: it is another number in every request of a conversation.
    pub(crate) fn finish(self, turn: usize) -> Result<Reply, Failure> {
        if self.finish_reason.is_none() && !self.is_done {
            return Err(self.upstream.failure(FailureKind::Unavailable, "ended its reply in the middle"));
        }
        let is_blank = |block: &Block| match block {
            Block::Text(text) => text.trim().is_empty(),
            Block::Thinking { .. } | Block::Call(_) => false,
        };
        let content = ending::Content {
            has_calls: self.blocks.iter().any(|block| matches!(block, Block::Call(_))),
            is_empty: self.blocks.iter().all(is_blank),
        };
        let stop_reason = ending::stop_reason(self.finish_reason.as_deref(), content)
            .map_err(|what| self.upstream.failure(FailureKind::Unavailable, &what))?;
        let mut ids = BTreeSet::new();
        let mut blocks = Vec::new();
        for (position, block) in self.blocks.into_iter().enumerate() {
            let text = match block {
                Block::Text(text) => json!({"type": "text", "text": text}).to_string(),
                // The field is where the text goes when it is sent back.
                Block::Thinking { text, field } => {
                    json!({"type": "thinking", "thinking": text, "signature": "", "field": field}).to_string()
                }
                Block::Call(call) => {
                    let id = match call.id() {
                        id if !id.is_empty() && ids.insert(id.to_owned()) => id.to_owned(),
                        _ => format!("toolu_{turn}_{position}"),
                    };
                    call.finish(&id, &self.tools)
                }
            };
            blocks.push(raw::block(text).expect("it was put together from JSON").into());
        }
        let (stop_reason, stop_details) = (stop_reason.to_owned(), None);
        Ok(Reply { blocks, stop_reason, stop_details, usage: self.usage, model: self.model })
    }

    fn unreadable(&self, what: &str) -> Failure {
        self.upstream.failure(FailureKind::Unavailable, &format!("sent a reply that cannot be read: {what}"))
    }
}

fn usage(counts: &Value) -> Usage {
    let of = |value: &Value| count(value).unwrap_or_default();
    let input = of(&counts["prompt_tokens"]);
    let cached = of(&counts["prompt_tokens_details"]["cached_tokens"]).min(input);
    Usage {
        input_tokens: input - cached,
        output_tokens: of(&counts["completion_tokens"]),
        cache_read_input_tokens: cached,
        ..Usage::default()
    }
}
