//! Asks the model, and shows clients the reply while it is being made.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use api::completion::Progress;
use api::completion::Request;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::Ids;
use api::ids::ThreadId;
use serde_json::json;
use store::Preview;

use super::sandbox_calls;
use crate::Inner;
use crate::brain::EffectDone;
use crate::crash;
use crate::environments::Wanted;

/// One model request. When the reply begins to call a tool, the sandbox is made while the rest of the reply arrives.
pub(crate) async fn ask(
    inner: Arc<Inner>,
    key: i64,
    thread: ThreadId,
    span: EventId,
    request: Request,
    wanted: Wanted,
) -> EffectDone {
    let crash = inner.parts.crash.as_ref();
    crash::point(crash, "before_model");
    let previews = Mutex::new(Previews::default());
    let is_ahead = AtomicBool::new(false);
    let show = |progress: Progress| {
        let calls = matches!(&progress, Progress::BlockStart { kind, .. } if kind == "tool_use");
        if calls && !is_ahead.swap(true, Ordering::Relaxed) {
            sandbox_calls::make_ahead(&inner, wanted.clone());
        }
        let mut previews = previews.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, starts, json) in previews.follow(progress, &inner.parts.ids) {
            let (thread, span) = (thread.clone(), span.clone());
            inner.parts.store.preview(key, Preview { thread, span, json, kind, starts });
        }
    };
    let answer = inner.parts.models.complete(&request, &show).await;
    crash::point(crash, "after_model");
    if is_ahead.into_inner() && answer.is_ok() {
        sandbox_calls::stand_by(&inner).await;
    }
    match answer {
        Ok(reply) => {
            let previews = previews.into_inner().unwrap_or_else(PoisonError::into_inner);
            let ids = previews.into_ids(reply.blocks.len(), &inner.parts.ids);
            let cost_microcents = inner.parts.models.cost(&request.model, &reply.usage);
            EffectDone::Replied { span, reply, ids, cost_microcents }
        }
        Err(failure) => EffectDone::Failed {
            span,
            failure,
            at: inner.parts.clock.now(),
            jitter_permille: u32::try_from(inner.parts.ids.below(1001)).unwrap_or(0),
        },
    }
}

/// The events of a reply that clients have seen begin.
#[derive(Default)]
struct Previews {
    /// One id per block of the reply so far.
    ids: Vec<EventId>,
    /// The event that text goes to: its id, the block that opened it, and whether it was shown.
    text: Option<TextPreview>,
    /// The blocks of the run of text blocks that is open.
    last_kind: String,
}

struct TextPreview {
    id: EventId,
    /// Blocks of this run that have shown text, in order; their place is the index in the event's content.
    shown: Vec<usize>,
}

impl Previews {
    /// Frames to show for a step of progress: the previewed event's type, whether it begins, and the JSON.
    fn follow(&mut self, progress: Progress, ids: &Ids) -> Vec<(EventKind, bool, String)> {
        match progress {
            Progress::BlockStart { index, kind } => self.begin(index, kind, ids),
            Progress::Text { index, text } => self.add(index, &text),
        }
    }

    fn begin(&mut self, index: usize, kind: String, ids: &Ids) -> Vec<(EventKind, bool, String)> {
        while self.ids.len() <= index {
            self.ids.push(ids.make());
        }
        let id = self.ids[index].clone();
        let mut frames = Vec::new();
        match kind.as_str() {
            "text" if self.last_kind == "text" => {}
            "text" => self.text = Some(TextPreview { id, shown: Vec::new() }),
            "thinking" | "redacted_thinking" => {
                frames.push((EventKind::AgentThinking, true, start(&EventKind::AgentThinking, &id)));
            }
            _ => {}
        }
        self.last_kind = kind;
        frames
    }

    /// The event begins with its first text, so that a reply without any shows nothing that never ends.
    fn add(&mut self, index: usize, text: &str) -> Vec<(EventKind, bool, String)> {
        let Some(preview) = &mut self.text else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        if preview.shown.is_empty() {
            // The buffered event takes the id of the first block that has text.
            preview.id = self.ids[index].clone();
            frames.push((EventKind::AgentMessage, true, start(&EventKind::AgentMessage, &preview.id)));
        }
        if preview.shown.last() != Some(&index) {
            preview.shown.push(index);
        }
        let place = preview.shown.len() - 1;
        let delta = json!({
            "type": EventKind::EventDelta,
            "event_id": preview.id,
            "delta": {"type": "content_delta", "index": place, "content": {"type": "text", "text": text}},
        });
        frames.push((EventKind::AgentMessage, false, delta.to_string()));
        frames
    }

    fn into_ids(mut self, blocks: usize, ids: &Ids) -> Vec<EventId> {
        while self.ids.len() < blocks {
            self.ids.push(ids.make());
        }
        self.ids
    }
}

fn start(kind: &EventKind, id: &EventId) -> String {
    json!({"type": EventKind::EventStart, "event": {"type": kind, "id": id}}).to_string()
}
