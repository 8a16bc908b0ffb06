//! The reply of the Messages API, put together from its events.
//!
//! Blocks pass through as text (see [`crate::block`]); events and fields that are not known are ignored, so that a
//! newer API does not break an older server. What gateways get wrong and can be read in one way only is read: blocks
//! without a start or with an index that is taken, deltas in a block of another kind, content in the head of the message,
//! counts that are no integers, an end without `message_stop`.

use std::sync::Arc;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::block::Block;
use crate::counts::lenient;
use crate::ending;
use crate::limits::BLOCKS_MAX;
use crate::raw::Fields;
use crate::tools::Tools;
use crate::upstream::Upstream;

/// One event of any type; what is not looked at is not read.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
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
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Token counts as far as an event tells them; they are totals, and later ones replace earlier ones.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Counts {
    #[serde(deserialize_with = "lenient")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Lifetimes>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    #[serde(deserialize_with = "lenient")]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    ephemeral_1h_input_tokens: Option<u64>,
}

/// A reply that is being made.
pub(crate) struct Decoder<'a> {
    upstream: &'a Upstream,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    tools: Tools,
    blocks: Vec<Growing>,
    counts: Counts,
    model: Option<String>,
    stop_reason: Option<String>,
    stop_details: Option<Box<RawValue>>,
    is_complete: bool,
}

struct Growing {
    /// The index that the provider gave it.
    index: Option<u64>,
    block: Block,
    is_stopped: bool,
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
            counts: Counts::default(),
            model: None,
            stop_reason: None,
            stop_details: None,
            is_complete: false,
        }
    }

    /// Whether nothing more has to come.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes the data of an event. True when it brought content.
    pub(crate) fn take(&mut self, data: &str) -> Result<bool, Failure> {
        let event: Event<'_> =
            serde_json::from_str(data).map_err(|_| self.unreadable("an event is no JSON object"))?;
        match event.kind.as_str() {
            "message_start" => self.take_head(event.message),
            "content_block_start" => {
                let block = event.content_block.and_then(Block::start);
                let block = block.ok_or_else(|| self.unreadable("a content block has no type"))?;
                self.start_block(event.index, block)?;
                Ok(true)
            }
            "content_block_delta" => self.grow_block(&event).map(|()| true),
            "content_block_stop" => {
                self.newest(event.index)
                    .into_iter()
                    .for_each(|position| self.blocks[position].is_stopped = true);
                Ok(false)
            }
            "message_delta" => {
                let has_content = self.take_head(event.delta);
                self.take_usage(event.usage);
                has_content
            }
            "message_stop" => {
                self.is_complete = true;
                Ok(false)
            }
            // A server that does not stream sends the whole message.
            "message" => {
                self.is_complete = true;
                self.take_head(serde_json::from_str(data).ok())
            }
            "error" => Err(self.upstream.error_in_stream(data)),
            // An error without a type, `ping`, and what is invented later.
            _ => match serde_json::from_str::<serde_json::Value>(data) {
                Ok(data_value) if event.kind.is_empty() && data_value["error"].is_object() => {
                    Err(self.upstream.error_in_stream(data))
                }
                Ok(_) | Err(_) => Ok(false),
            },
        }
    }

    fn take_head(&mut self, head: Option<&RawValue>) -> Result<bool, Failure> {
        let Some(Head { model, stop_reason, stop_details, usage, content }) =
            head.and_then(|head| serde_json::from_str(head.get()).ok())
        else {
            return Ok(false);
        };
        self.model = model.or_else(|| self.model.take());
        self.stop_reason = stop_reason.or_else(|| self.stop_reason.take());
        self.stop_details = stop_details.map(RawValue::to_owned).or_else(|| self.stop_details.take());
        self.take_usage(usage);
        let content: Vec<&RawValue> =
            content.and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default();
        let blocks: Vec<Block> = content.into_iter().filter_map(Block::start).collect();
        let has_content = !blocks.is_empty();
        blocks.into_iter().try_for_each(|block| self.start_block(None, block))?;
        Ok(has_content)
    }

    /// Counts that cannot be read cost no answer.
    fn take_usage(&mut self, usage: Option<&RawValue>) {
        let Some(told) = usage.and_then(|usage| serde_json::from_str::<Counts>(usage.get()).ok()) else {
            return;
        };
        let counts = &mut self.counts;
        *counts = Counts {
            input_tokens: told.input_tokens.or(counts.input_tokens),
            output_tokens: told.output_tokens.or(counts.output_tokens),
            cache_read_input_tokens: told.cache_read_input_tokens.or(counts.cache_read_input_tokens),
            cache_creation_input_tokens: told
                .cache_creation_input_tokens
                .or(counts.cache_creation_input_tokens),
            cache_creation: told.cache_creation.or(counts.cache_creation),
        };
    }

    fn start_block(&mut self, index: Option<u64>, block: Block) -> Result<(), Failure> {
        let is_repeated = self.newest(index).is_some_and(|position| {
            let last = &self.blocks[position];
            index.is_some() && !last.is_stopped && last.block.is_untouched() && last.block.starts_like(&block)
        });
        if is_repeated {
            return Ok(());
        }
        let position = self.blocks.len();
        if position == BLOCKS_MAX {
            return Err(self.unreadable("there are too many content blocks"));
        }
        (self.progress)(Progress::BlockStart { index: position, kind: block.kind.clone() });
        if let Some(text) = block.first_text() {
            (self.progress)(Progress::Text { index: position, text });
        }
        self.blocks.push(Growing { index, block, is_stopped: false });
        Ok(())
    }

    fn grow_block(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let delta =
            event.delta.and_then(Fields::of).ok_or_else(|| self.unreadable("a delta is no object"))?;
        let kind = delta.string("type").unwrap_or_default();
        let fits = |growing: &Growing| growing.block.fits(&kind);
        let position = match self.newest(event.index).filter(|position| fits(&self.blocks[*position])) {
            Some(position) => position,
            // It belongs to a block that was never begun, or stands in one of another kind.
            None => match Block::of_delta(&kind) {
                Some(block) => {
                    self.start_block(event.index, block)?;
                    self.blocks.len() - 1
                }
                None => {
                    return Err(
                        self.unreadable(&format!("a delta of type {kind} belongs to no content block"))
                    );
                }
            },
        };
        if let Some(text) = self.blocks[position].block.apply(&delta) {
            (self.progress)(Progress::Text { index: position, text });
        }
        Ok(())
    }

    /// The newest block with an index, or without one the newest of all: it is the one that grows.
    fn newest(&self, index: Option<u64>) -> Option<usize> {
        self.blocks.iter().rposition(|growing| index.is_none() || growing.index == index)
    }

    /// The reply, at the end of its events.
    pub(crate) fn finish(self) -> Result<Reply, Failure> {
        // Whoever says why the reply stopped has nothing more to say.
        if !self.is_complete && self.stop_reason.is_none() {
            return Err(self.upstream.failure(FailureKind::Unavailable, "ended its reply in the middle"));
        }
        let content = ending::Content {
            has_calls: self.blocks.iter().any(|growing| growing.block.kind == "tool_use"),
            is_empty: self.blocks.iter().all(|growing| growing.block.is_blank()),
        };
        let stop_reason = ending::stop_reason(self.stop_reason.as_deref(), content)
            .map_err(|what| self.upstream.failure(FailureKind::Unavailable, &what))?;
        let mut blocks: Vec<Arc<RawValue>> = Vec::with_capacity(self.blocks.len());
        for growing in self.blocks {
            let block = growing.block.finish(&self.tools);
            blocks.push(block.ok_or_else(|| unreadable(self.upstream, "a content block is no JSON"))?.into());
        }
        let stop_details = self.stop_details.filter(|details| details.get() != "null").map(Into::into);
        let (stop_reason, usage) = (stop_reason.to_owned(), self.counts.into());
        Ok(Reply { blocks, stop_reason, stop_details, usage, model: self.model })
    }

    fn unreadable(&self, what: &str) -> Failure {
        unreadable(self.upstream, what)
    }
}

/// A fault of transport: the same request may be answered properly.
fn unreadable(upstream: &Upstream, what: &str) -> Failure {
    upstream.failure(FailureKind::Unavailable, &format!("sent a reply that cannot be read: {what}"))
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let lifetimes = counts.cache_creation.unwrap_or_default();
        let one_hour = lifetimes.ephemeral_1h_input_tokens.unwrap_or_default();
        // The end of a reply tells a total only: what is not known to live for an hour lives for five minutes.
        let told = lifetimes.ephemeral_5m_input_tokens.unwrap_or_default().saturating_add(one_hour);
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
