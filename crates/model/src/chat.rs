//! OpenAI-compatible chat completions: vLLM, Ollama, llama.cpp and most gateways.
//!
//! The format is loose, and so is the decoder: tool calls may come in pieces, whole, in parallel, without an index,
//! all with the same index, or without an id; counts may come with the last choice or after it; `[DONE]` may be
//! missing once a finish reason was given. The blocks come out in the order in which they began.

use std::collections::BTreeSet;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use api::completion::Usage;
use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::chat_prompt;
use crate::config::ChatConfig;
use crate::config::ModelConfig;
use crate::limits::BLOCKS_MAX;
use crate::models::ConfigError;
use crate::raw;
use crate::secret::Secret;
use crate::upstream::Parts;
use crate::upstream::Upstream;

/// A provider that speaks chat completions.
#[derive(Debug)]
pub(crate) struct Chat {
    config: ChatConfig,
    upstream: Upstream,
}

impl Chat {
    /// Checks what the operator configured.
    pub(crate) fn new(
        provider: &str,
        config: &ChatConfig,
        client: &reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let headers = match (&config.api_key, &config.api_key_env) {
            (Some(key), _) => vec![("authorization", Secret::new(format!("Bearer {}", key.expose())))],
            (None, Some(variable)) => {
                let (provider, variable) = (provider.to_owned(), variable.clone());
                return Err(ConfigError::KeyMissing { provider, variable });
            }
            (None, None) => Vec::new(),
        };
        let parts = Parts {
            provider,
            base_url: &config.base_url,
            path: "/chat/completions",
            headers,
            more_headers: &config.headers,
            idle_timeout_ms: config.idle_timeout_ms,
            client,
        };
        Ok(Self { config: config.clone(), upstream: Upstream::new(parts)? })
    }

    /// Asks for a reply.
    pub(crate) async fn complete(
        &self,
        request: &Request,
        upstream_model: &str,
        model: &ModelConfig,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reply, Failure> {
        let max_tokens = model.max_tokens.or(self.config.max_tokens);
        let body = chat_prompt::body(request, upstream_model, max_tokens, &self.config);
        let mut events = self.upstream.post(HeaderMap::new(), body).await?;
        let mut decoder = Decoder::new(&self.upstream, progress);
        while let Some(event) = events.next().await? {
            if event.data.trim() == "[DONE]" {
                events.drain().await;
                decoder.is_done = true;
                break;
            }
            decoder.take(&event.data)?;
        }
        decoder.finish(request.messages.len())
    }
}

/// A block that is being streamed.
enum Block {
    Text(String),
    Thinking(String),
    Call { index: Option<u64>, id: String, name: String, arguments: String },
}

struct Decoder<'a> {
    upstream: &'a Upstream,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    blocks: Vec<Block>,
    finish_reason: Option<String>,
    model: Option<String>,
    usage: Usage,
    is_done: bool,
}

impl<'a> Decoder<'a> {
    fn new(upstream: &'a Upstream, progress: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        let (blocks, usage) = (Vec::new(), Usage::default());
        Self { upstream, progress, blocks, finish_reason: None, model: None, usage, is_done: false }
    }

    fn take(&mut self, data: &str) -> Result<(), Failure> {
        let chunk: Value = serde_json::from_str(data).map_err(|_| self.nonsense("a chunk is not JSON"))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(self.upstream.error_in_stream(data));
        }
        if let Some(model) = chunk["model"].as_str().filter(|model| !model.is_empty()) {
            self.model = Some(model.to_owned());
        }
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        let Some(choice) = chunk["choices"].as_array().and_then(|choices| choices.first()) else {
            return Ok(());
        };
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
        }
        // A server that does not stream sends the whole message.
        let delta = choice.get("delta").unwrap_or_else(|| &choice["message"]);
        if self.blocks.len() > BLOCKS_MAX {
            return Err(self.nonsense("there are too many blocks"));
        }
        let thinking = delta["reasoning_content"].as_str().or_else(|| delta["reasoning"].as_str());
        self.think(thinking.unwrap_or_default());
        match &delta["content"] {
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part["text"].as_str()).for_each(|text| self.say(text));
            }
            content => self.say(content.as_str().unwrap_or_default()),
        }
        self.say(delta["refusal"].as_str().unwrap_or_default());
        delta["tool_calls"].as_array().into_iter().flatten().for_each(|call| self.call(call));
        Ok(())
    }

    fn start(&mut self, kind: &str, block: Block) {
        (self.progress)(Progress::BlockStart { index: self.blocks.len(), kind: kind.to_owned() });
        self.blocks.push(block);
    }

    fn think(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Block::Thinking(thinking)) = self.blocks.last_mut() {
            thinking.push_str(text);
        } else {
            self.start("thinking", Block::Thinking(text.to_owned()));
        }
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Block::Text(said)) = self.blocks.last_mut() {
            said.push_str(text);
        } else {
            self.start("text", Block::Text(text.to_owned()));
        }
        (self.progress)(Progress::Text { index: self.blocks.len() - 1, text: text.to_owned() });
    }

    fn call(&mut self, delta: &Value) {
        let new_id = delta["id"].as_str().unwrap_or_default();
        let new_name = delta["function"]["name"].as_str().unwrap_or_default();
        let new_index = delta["index"].as_u64();
        let more = match &delta["function"]["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            // Some servers send the object itself.
            arguments => arguments.to_string(),
        };
        let found = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Call { index, id, name, arguments } => {
                // Some servers give every call the same index and tell them apart by id.
                let same_id = new_id.is_empty() || id.is_empty() || id == new_id;
                let same_index = match (new_index, *index) {
                    (Some(new), Some(old)) => new == old,
                    // Without an index a piece continues the last call, and a name begins another.
                    (None, _) | (_, None) => new_name.is_empty() || (!new_id.is_empty() && id == new_id),
                };
                (same_id && same_index).then_some((id, name, arguments))
            }
            Block::Text(_) | Block::Thinking(_) => None,
        });
        if let Some((id, name, arguments)) = found {
            arguments.push_str(&more);
            if id.is_empty() {
                new_id.clone_into(id);
            }
            if name.is_empty() {
                new_name.clone_into(name);
            }
            return;
        }
        let (id, name) = (new_id.to_owned(), new_name.to_owned());
        self.start("tool_use", Block::Call { index: new_index, id, name, arguments: more });
    }

    /// `turn` is what ids of calls without one are made of: it is another number in every request of a conversation.
    fn finish(self, turn: usize) -> Result<Reply, Failure> {
        if self.finish_reason.is_none() && !self.is_done {
            return Err(self.upstream.failure(FailureKind::Unavailable, "ended its reply in the middle"));
        }
        let has_calls = self.blocks.iter().any(|block| matches!(block, Block::Call { .. }));
        let stop_reason = match self.finish_reason.as_deref() {
            Some("length") => "max_tokens",
            Some("content_filter") => "refusal",
            _ if has_calls => "tool_use",
            _ => "end_turn",
        };
        let mut ids = BTreeSet::new();
        let mut blocks = Vec::new();
        for (position, block) in self.blocks.into_iter().enumerate() {
            let text = match block {
                Block::Text(text) => json!({"type": "text", "text": text}).to_string(),
                Block::Thinking(thinking) => {
                    json!({"type": "thinking", "thinking": thinking, "signature": ""}).to_string()
                }
                Block::Call { index: _, mut id, name, arguments } => {
                    if id.is_empty() || !ids.insert(id.clone()) {
                        id = format!("toolu_{turn}_{position}");
                    }
                    let input = input(&arguments, stop_reason == "max_tokens").ok_or_else(|| {
                        let what = "sent a tool call whose arguments are not a JSON object";
                        self.upstream.failure(FailureKind::Unavailable, what)
                    })?;
                    let (id, name) = (raw::quote(&id), raw::quote(&name));
                    format!("{{\"type\":\"tool_use\",\"id\":{id},\"name\":{name},\"input\":{input}}}")
                }
            };
            blocks.push(raw::block(text).expect("it was put together from JSON").into());
        }
        let (stop_reason, stop_details) = (stop_reason.to_owned(), None);
        Ok(Reply { blocks, stop_reason, stop_details, usage: self.usage, model: self.model })
    }

    fn nonsense(&self, what: &str) -> Failure {
        self.upstream.failure(FailureKind::Rejected, &format!("sent a reply that makes no sense: {what}"))
    }
}

/// The input that a call's arguments say, as text; none when they are broken and cannot have been cut at the limit.
fn input(arguments: &str, may_be_cut: bool) -> Option<&str> {
    let text = arguments.trim();
    let is_object = text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok();
    match (is_object, text.is_empty() || text == "null" || may_be_cut) {
        (true, _) => Some(text),
        (false, true) => Some("{}"),
        (false, false) => None,
    }
}

fn usage(counts: &Value) -> Usage {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let input = count(&counts["prompt_tokens"]);
    let cached = count(&counts["prompt_tokens_details"]["cached_tokens"]).min(input);
    Usage {
        input_tokens: input - cached,
        output_tokens: count(&counts["completion_tokens"]),
        cache_read_input_tokens: cached,
        ..Usage::default()
    }
}
