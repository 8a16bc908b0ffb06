//! The scripted model: plays a script instead of thinking, so that agents can be tested offline and in CI with the
//! production binary. `docs/scripted-model.md` is the manual; a script looks like this:
//!
//! ```toml
//! [[rule]]
//! when = { user = "list the files" }
//!
//! [[rule.reply]]
//! thinking = "A look at the folder will do."
//! text = "Let me look."
//! call = [{ tool = "bash", input = { command = "ls -la" } }]
//!
//! [[rule.reply]]
//! text = "This is what is there: {{result}}"
//!
//! [otherwise]
//! text = "I only know how to list files."
//! ```
//!
//! The answer is a function of the request: which rule and which step are due is read from the conversation, so a
//! server that was killed and started again goes on where it was. The one thing remembered is how often a planned
//! failure with `times` has happened to a conversation.

use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use api::completion::Usage;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::failure::failure;
use crate::limits::FAILURE_COUNTERS_MAX;
use crate::raw;
use crate::script::Answer;
use crate::script::Fail;
use crate::script::FailKind;
use crate::script::Script;
use crate::script::ScriptError;
use crate::situation::Situation;

/// A provider that plays a script.
#[derive(Debug)]
pub(crate) struct Scripted {
    provider: String,
    script: Script,
    /// How often a conversation has met a planned failure, by reply and conversation.
    failures: Mutex<HashMap<(usize, u64), u64>>,
}

impl Scripted {
    /// Reads a script.
    pub(crate) fn load(provider: &str, script: &str) -> Result<Self, ScriptError> {
        Ok(Self { provider: provider.to_owned(), script: Script::parse(script)?, failures: Mutex::default() })
    }

    /// Plays the reply that the conversation asks for.
    pub(crate) async fn complete(
        &self,
        request: &Request,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reply, Failure> {
        let situation = Situation::of(request);
        let Some((number, answer)) = self.script.choose(&situation) else {
            let (provider, turn, step) = (&self.provider, situation.turn, situation.step);
            let message =
                format!("model provider {provider} has no rule in its script for turn {turn}, step {step}");
            return Err(failure(FailureKind::Rejected, message));
        };
        pause(answer.delay_ms).await;
        let fails = answer.fail.as_ref().filter(|fail| self.is_due(fail, number, request));
        let chunks_max = fails.map_or(usize::MAX, |fail| fail.after_chunks);
        let blocks = play(answer, &situation, chunks_max, progress).await;
        if let Some(fail) = fails {
            return Err(self.failure(fail));
        }
        let default = if answer.calls.is_empty() { "end_turn" } else { "tool_use" };
        Ok(Reply {
            usage: usage(request, &blocks),
            blocks,
            stop_reason: answer.stop_reason.as_deref().unwrap_or(default).to_owned(),
            stop_details: None,
            model: Some(request.model.clone()),
        })
    }

    /// Whether a planned failure happens now; counts it if its number is limited.
    fn is_due(&self, fail: &Fail, number: usize, request: &Request) -> bool {
        let Some(times) = fail.times else {
            return true;
        };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (number, fingerprint(request));
        if failures.len() >= FAILURE_COUNTERS_MAX && !failures.contains_key(&key) {
            failures.clear();
        }
        let count = failures.entry(key).or_default();
        let is_due = *count < times;
        *count += u64::from(is_due);
        is_due
    }

    fn failure(&self, fail: &Fail) -> Failure {
        let (kind, usual) = match fail.kind {
            FailKind::Overloaded => (FailureKind::Overloaded, "is overloaded"),
            FailKind::RateLimited => (FailureKind::RateLimited, "limits the rate of requests"),
            FailKind::Unavailable => (FailureKind::Unavailable, "ended its reply in the middle"),
            FailKind::Billing => (FailureKind::Billing, "says that the account cannot pay"),
            FailKind::Rejected => (FailureKind::Rejected, "rejects the request"),
        };
        let reason = fail.message.as_deref().unwrap_or(usual);
        let message = format!("model provider {} {reason}, as its script says", self.provider);
        Failure { retry_after_ms: fail.retry_after_ms, ..failure(kind, message) }
    }
}

/// Tells the reply word by word and puts its blocks together. After `chunks_max` words nothing more is told.
async fn play(
    answer: &Answer,
    situation: &Situation<'_>,
    chunks_max: usize,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Vec<Arc<RawValue>> {
    let mut blocks = Vec::new();
    let mut chunks_left = chunks_max;
    let tell_start = |index: usize, kind: &str, chunks_left: usize| {
        if chunks_left > 0 {
            progress(Progress::BlockStart { index, kind: kind.to_owned() });
        }
    };
    if let Some(thinking) = &answer.thinking {
        tell_start(blocks.len(), "thinking", chunks_left);
        let thinking = situation.fill(thinking);
        blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": "scripted"}));
    }
    if let Some(text) = &answer.text {
        let text = situation.fill(text);
        tell_start(blocks.len(), "text", chunks_left);
        for word in text.split_inclusive(' ') {
            if chunks_left == 0 {
                break;
            }
            chunks_left -= 1;
            pause(answer.chunk_delay_ms).await;
            progress(Progress::Text { index: blocks.len(), text: word.to_owned() });
        }
        blocks.push(json!({"type": "text", "text": text}));
    }
    for (position, call) in answer.calls.iter().enumerate() {
        tell_start(blocks.len(), "tool_use", chunks_left);
        let id = format!("toolu_scripted_{}_{position}", situation.messages);
        let input = json_of(&toml::Value::Table(call.input.clone()), situation);
        blocks.push(json!({"type": "tool_use", "id": id, "name": call.tool, "input": input}));
    }
    let raw = |block: Value| raw::block(block.to_string()).expect("a value is always JSON");
    blocks.into_iter().map(|block| raw(block).into()).collect()
}

/// TOML as JSON, with the templates in its texts filled.
fn json_of(value: &toml::Value, situation: &Situation<'_>) -> Value {
    match value {
        toml::Value::String(text) => situation.fill(text).into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(is_so) => (*is_so).into(),
        toml::Value::Datetime(datetime) => datetime.to_string().into(),
        toml::Value::Array(items) => items.iter().map(|item| json_of(item, situation)).collect(),
        toml::Value::Table(members) => {
            members.iter().map(|(name, member)| (name.clone(), json_of(member, situation))).collect()
        }
    }
}

/// Four bytes are a token, as a rule of thumb; what matters is that it is always the same number.
fn usage(request: &Request, blocks: &[Arc<RawValue>]) -> Usage {
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    let length = |blocks: &[Arc<RawValue>]| blocks.iter().map(|block| block.get().len()).sum::<usize>();
    let messages = request.messages.iter().map(|message| length(&message.content)).sum::<usize>();
    Usage {
        input_tokens: tokens(request.system.len() + length(&request.tools) + messages),
        output_tokens: tokens(length(blocks)),
        ..Usage::default()
    }
}

fn fingerprint(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.system.hash(&mut hasher);
    for message in &request.messages {
        (message.role == api::completion::Role::User).hash(&mut hasher);
        message.content.iter().for_each(|block| block.get().hash(&mut hasher));
    }
    hasher.finish()
}

async fn pause(millis: u64) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}
