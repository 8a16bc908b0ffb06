//! What to write when the model has answered: its blocks as events, its tool calls as intents.

use std::sync::Arc;

use api::completion::Reply;
use api::emitted::Emitted;
use api::emitted::Evaluation;
use api::emitted::Permission;
use api::emitted::text_block;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use api::tools::Policy;
use serde_json::value::RawValue;

use super::Content;
use super::Draft;
use super::agent::AgentSnapshot;
use super::agent::Runs;
use super::agent::ToolEntry;
use super::private;
use super::texts;

pub(crate) fn replied(
    thread: &ThreadId,
    agent: &AgentSnapshot,
    span: EventId,
    reply: Reply,
    ids: &[EventId],
    cost_microcents: Option<i64>,
) -> Vec<Draft> {
    let Reply { blocks, stop_reason, stop_details, usage, model: _ } = reply;
    let mut drafts = Vec::new();
    let mut text = TextRun::default();
    for (index, block) in blocks.into_iter().enumerate() {
        let head: private::BlockHead = serde_json::from_str(block.get()).unwrap_or_default();
        let id = ids.get(index).cloned();
        if head.kind == "text" {
            text.push(id, head.text.as_deref().unwrap_or_default(), block);
            continue;
        }
        drafts.extend(text.end(thread));
        match head.kind.as_str() {
            "thinking" | "redacted_thinking" => {
                drafts.push(with_blocks(thread, id, Emitted::Thinking, vec![block]));
            }
            "tool_use" => drafts.extend(called(thread, agent, id, block, &stop_reason)),
            _ => drafts.push(kept(thread, id, block)),
        }
    }
    drafts.extend(text.end(thread));
    let event =
        Emitted::RequestEnd { model_request_start_id: span, is_error: false, model_usage: usage.into() };
    let note = private::RequestEnd { stop_reason, stop_details, has_reply: true, usage, cost_microcents };
    drafts.push(Draft::noted(thread, event, &note));
    drafts
}

/// Neighbouring text blocks, which make one `agent.message`.
#[derive(Default)]
struct TextRun {
    id: Option<EventId>,
    content: Vec<Arc<RawValue>>,
    blocks: Vec<Arc<RawValue>>,
}

impl TextRun {
    fn push(&mut self, id: Option<EventId>, text: &str, block: Arc<RawValue>) {
        // The Messages API refuses an empty text block when it comes back.
        if text.is_empty() {
            return;
        }
        if self.blocks.is_empty() {
            self.id = id;
        }
        self.content.push(text_block(text));
        self.blocks.push(block);
    }

    fn end(&mut self, thread: &ThreadId) -> Option<Draft> {
        let Self { id, content, blocks } = std::mem::take(self);
        if blocks.is_empty() {
            return None;
        }
        let is_plain = content.iter().zip(&blocks).all(|(ours, theirs)| ours.get() == theirs.get());
        let event = Emitted::Message { content };
        Some(if is_plain {
            Draft { id, ..Draft::event(thread, event) }
        } else {
            with_blocks(thread, id, event, blocks)
        })
    }
}

fn with_blocks(thread: &ThreadId, id: Option<EventId>, event: Emitted, blocks: Vec<Arc<RawValue>>) -> Draft {
    Draft { id, ..Draft::noted(thread, event, &private::Blocks { blocks }) }
}

/// A tool call. One that cannot be run is refused on the spot: every call gets a result.
fn called(
    thread: &ThreadId,
    agent: &AgentSnapshot,
    id: Option<EventId>,
    block: Arc<RawValue>,
    stop_reason: &str,
) -> Vec<Draft> {
    let (Some(id), Ok(parsed)) = (id, serde_json::from_str::<private::ToolUseBlock>(block.get())) else {
        return vec![kept(thread, None, block)];
    };
    let private::ToolUseBlock { id: _, name, input } = parsed;
    let is_object = input.as_ref().is_some_and(|raw| raw.get().trim_start().starts_with('{'));
    let input = input.filter(|_| is_object).unwrap_or_else(|| raw(&serde_json::Map::new()));
    let tool = agent.tool(&name);
    let refused = if tool.is_none() {
        Some(format!("There is no tool {name} in this session."))
    } else if stop_reason == "max_tokens" {
        Some("The reply hit the token limit, so this call may be cut off and was not run.".to_owned())
    } else if !is_object {
        Some("The input of this call is not a JSON object, so it was not run.".to_owned())
    } else {
        None
    };
    let mut drafts = vec![with_blocks(
        thread,
        Some(id.clone()),
        intent(tool, name, input, refused.is_some()),
        vec![block],
    )];
    drafts.extend(refused.map(|text| texts::failed(thread, id, &text)));
    drafts
}

/// The event of a call. A call that is refused on the spot is one of the server's: nobody is asked about it.
fn intent(tool: Option<&ToolEntry>, name: String, input: Arc<RawValue>, is_refused: bool) -> Emitted {
    let runs_at_client = tool.is_some_and(|tool| tool.runs == Runs::Client);
    if runs_at_client && !is_refused {
        return Emitted::CustomToolUse { name, input };
    }
    let (evaluated_permission, evaluation) = match tool.map(|tool| tool.policy) {
        None => (Permission::Deny, None),
        Some(Some(Policy::AlwaysAsk)) if !is_refused => (Permission::Ask, Some(Evaluation::AlwaysAsk)),
        Some(_) => (Permission::Allow, Some(Evaluation::AlwaysAllow)),
    };
    Emitted::ToolUse { name, input, evaluated_permission, evaluation }
}

/// A block that has no public event.
fn kept(thread: &ThreadId, id: Option<EventId>, block: Arc<RawValue>) -> Draft {
    let private = Some(raw(&private::Blocks { blocks: vec![block] }));
    Draft { thread: thread.clone(), id, content: Content::Internal(EventKind::JournalBlock), private }
}
