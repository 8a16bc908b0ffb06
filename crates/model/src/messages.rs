//! The Messages API: sends a request and puts the reply together from its events.
//!
//! Blocks pass through as text (see [`crate::block`]); events and fields that are not known are ignored, so that a
//! newer API does not break an older server.

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use api::completion::Usage;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::block::Block;
use crate::block::BrokenInput;
use crate::catalogue;
use crate::config::Auth;
use crate::config::MessagesConfig;
use crate::config::ModelConfig;
use crate::config::Thinking;
use crate::limits::BLOCKS_MAX;
use crate::models::ConfigError;
use crate::prompt;
use crate::prompt::Settings;
use crate::raw::Fields;
use crate::secret::Secret;
use crate::upstream::Parts;
use crate::upstream::Upstream;

/// The API version that the official SDK 2.12 sends.
const VERSION: &str = "2026-10-21";
const BETA_HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
/// Some models take a `speed` only with it.
const FAST_BETA: &str = "fast-mode-2026-02-01";

/// A provider that speaks the Messages API.
#[derive(Debug)]
pub(crate) struct Messages {
    config: MessagesConfig,
    upstream: Upstream,
}

impl Messages {
    /// Checks what the operator configured.
    pub(crate) fn new(
        provider: &str,
        config: &MessagesConfig,
        client: &reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let mut headers = vec![("anthropic-version", Secret::new(VERSION))];
        match (&config.api_key, config.auth, &config.api_key_env) {
            (Some(key), Auth::XApiKey, _) => headers.push(("x-api-key", key.clone())),
            (Some(key), Auth::Bearer, _) => {
                headers.push(("authorization", Secret::new(format!("Bearer {}", key.expose()))));
            }
            (None, _, Some(variable)) => {
                let (provider, variable) = (provider.to_owned(), variable.clone());
                return Err(ConfigError::KeyMissing { provider, variable });
            }
            (None, _, None) => {}
        }
        let parts = Parts {
            provider,
            base_url: &config.base_url,
            path: "/v1/messages",
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
        let settings = Settings {
            model: upstream_model,
            max_tokens: model.max_tokens.unwrap_or(self.config.max_tokens),
            thinking: thinking(model.thinking.unwrap_or(self.config.thinking), upstream_model),
            cache: self.config.prompt_cache,
        };
        let body = prompt::body(request, &settings);
        let mut events = self.upstream.post(self.betas(request), body).await?;
        let mut decoder = Decoder { upstream: &self.upstream, progress, state: State::default() };
        while let Some(event) = events.next().await? {
            if event.name == "error" {
                return Err(self.upstream.error_in_stream(&event.data));
            }
            decoder.take(&event.data)?;
            if decoder.state.is_complete {
                events.drain().await;
                return decoder.finish();
            }
        }
        Err(self.upstream.failure(FailureKind::Unavailable, "ended its reply in the middle"))
    }

    fn betas(&self, request: &Request) -> HeaderMap {
        let is_fast = request.speed.as_deref() == Some("fast");
        let fast =
            is_fast.then_some(FAST_BETA).filter(|beta| !self.config.betas.iter().any(|set| set == beta));
        let betas: Vec<&str> = self.config.betas.iter().map(String::as_str).chain(fast).collect();
        let value = HeaderValue::from_str(&betas.join(",")).ok().filter(|value| !value.is_empty());
        value.map(|value| (BETA_HEADER, value)).into_iter().collect()
    }
}

fn thinking(thinking: Thinking, model: &str) -> Option<&'static str> {
    match thinking {
        Thinking::Auto => catalogue::takes_adaptive_thinking(model).then_some("adaptive"),
        Thinking::Adaptive => Some("adaptive"),
        Thinking::Disabled => Some("disabled"),
        Thinking::Omitted => None,
    }
}

/// One event of any type; what is not looked at is not read.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// A message's head, or the end of one: what both may say.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head<'a> {
    model: Option<String>,
    stop_reason: Option<String>,
    #[serde(borrow)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Token counts as far as an event tells them; they are totals, and later ones replace earlier ones.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Lifetimes>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

struct Decoder<'a> {
    upstream: &'a Upstream,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    state: State,
}

#[derive(Default)]
struct State {
    /// Blocks with the index that the provider gave them.
    blocks: Vec<(u64, Block)>,
    counts: Counts,
    model: Option<String>,
    stop_reason: Option<String>,
    stop_details: Option<Box<RawValue>>,
    is_complete: bool,
}

impl Decoder<'_> {
    fn take(&mut self, data: &str) -> Result<(), Failure> {
        let event: Event<'_> =
            serde_json::from_str(data).map_err(|_| self.nonsense("an event is not JSON"))?;
        match event.kind.as_str() {
            "message_start" => {
                if let Some(message) = event.message {
                    self.take_head(message)?;
                }
            }
            "content_block_start" => self.start_block(&event)?,
            "content_block_delta" => self.grow_block(&event)?,
            "message_delta" => {
                if let Some(delta) = event.delta {
                    self.take_head(delta)?;
                }
                self.take_usage(event.usage)?;
            }
            "message_stop" => self.state.is_complete = true,
            "error" => return Err(self.upstream.error_in_stream(data)),
            // `ping`, `content_block_stop`, and whatever is invented later.
            _ => {}
        }
        Ok(())
    }

    fn take_head(&mut self, head: &RawValue) -> Result<(), Failure> {
        let head =
            serde_json::from_str(head.get()).map_err(|_| self.nonsense("a message has no proper head"))?;
        let Head { model, stop_reason, stop_details, usage } = head;
        let state = &mut self.state;
        state.model = model.or_else(|| state.model.take());
        state.stop_reason = stop_reason.or_else(|| state.stop_reason.take());
        state.stop_details = stop_details.map(RawValue::to_owned).or_else(|| state.stop_details.take());
        self.take_usage(usage)
    }

    fn take_usage(&mut self, usage: Option<&RawValue>) -> Result<(), Failure> {
        let Some(usage) = usage.filter(|usage| usage.get() != "null") else {
            return Ok(());
        };
        let told: Counts =
            serde_json::from_str(usage.get()).map_err(|_| self.nonsense("usage is no counts"))?;
        let counts = &mut self.state.counts;
        *counts = Counts {
            input_tokens: told.input_tokens.or(counts.input_tokens),
            output_tokens: told.output_tokens.or(counts.output_tokens),
            cache_read_input_tokens: told.cache_read_input_tokens.or(counts.cache_read_input_tokens),
            cache_creation_input_tokens: told
                .cache_creation_input_tokens
                .or(counts.cache_creation_input_tokens),
            cache_creation: told.cache_creation.or(counts.cache_creation),
        };
        Ok(())
    }

    fn start_block(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let block = event.content_block.and_then(Block::start);
        let block = block.ok_or_else(|| self.nonsense("a content block has no type"))?;
        let position = self.state.blocks.len();
        let index = event.index.unwrap_or(position as u64);
        if position == BLOCKS_MAX || self.state.blocks.iter().any(|(taken, _)| *taken == index) {
            return Err(self.nonsense("two content blocks have the same index, or there are too many"));
        }
        (self.progress)(Progress::BlockStart { index: position, kind: block.kind.clone() });
        if let Some(text) = block.first_text() {
            (self.progress)(Progress::Text { index: position, text });
        }
        self.state.blocks.push((index, block));
        Ok(())
    }

    fn grow_block(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let delta = event.delta.and_then(Fields::of).ok_or_else(|| self.nonsense("a delta is no object"))?;
        // The newest block comes first: it is the one that grows.
        let found = self.state.blocks.iter_mut().enumerate().rev();
        let found = found.into_iter().find(|(_, (index, _))| Some(*index) == event.index);
        let Some((position, (_, block))) = found else {
            return Err(self.nonsense("a delta belongs to no content block"));
        };
        if let Some(text) = block.apply(&delta) {
            (self.progress)(Progress::Text { index: position, text });
        }
        Ok(())
    }

    fn finish(self) -> Result<Reply, Failure> {
        let State { blocks, counts, model, stop_reason, stop_details, is_complete: _ } = self.state;
        let has_calls = blocks.iter().any(|(_, block)| block.kind == "tool_use");
        let default = if has_calls { "tool_use" } else { "end_turn" };
        let stop_reason = stop_reason.unwrap_or_else(|| default.to_owned());
        let may_be_cut = ["max_tokens", "model_context_window_exceeded"].contains(&stop_reason.as_str());
        let finish = |(_, block): (u64, Block)| block.finish(may_be_cut).map(Into::into);
        let blocks = blocks.into_iter().map(finish).collect::<Result<_, _>>().map_err(|BrokenInput| {
            let what = "sent a tool call whose input is not a JSON object";
            self.upstream.failure(FailureKind::Unavailable, what)
        })?;
        let stop_details = stop_details.filter(|details| details.get() != "null").map(Into::into);
        Ok(Reply { blocks, stop_reason, stop_details, usage: counts.into(), model })
    }

    fn nonsense(&self, what: &str) -> Failure {
        let what = format!("sent a reply that makes no sense: {what}");
        self.upstream.failure(FailureKind::Rejected, &what)
    }
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let lifetimes = counts.cache_creation.unwrap_or_default();
        let one_hour = lifetimes.ephemeral_1h_input_tokens;
        // The end of a reply tells a total only: what is not known to live for an hour lives for five minutes.
        let told = lifetimes.ephemeral_5m_input_tokens + one_hour;
        let created = counts.cache_creation_input_tokens.unwrap_or(told);
        Self {
            input_tokens: counts.input_tokens.unwrap_or_default(),
            output_tokens: counts.output_tokens.unwrap_or_default(),
            cache_read_input_tokens: counts.cache_read_input_tokens.unwrap_or_default(),
            cache_creation_5m_input_tokens: created.saturating_sub(one_hour),
            cache_creation_1h_input_tokens: one_hour.min(created),
        }
    }
}
