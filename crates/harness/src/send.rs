//! Events from clients: checked against the session, stored durably, and handed to the session's driver.

use std::sync::Arc;

use api::entry::NewEntry;
use api::entry::raw;
use api::entry::render;
use api::events::ClientEvent;
use api::events::ClientEventKind;
use api::ids::EventId;
use api::ids::Ids;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use store::Answer;
use store::Append;
use store::Fence;
use store::Patch;
use store::SessionRecord;
use store::Waiting;
use store::Wants;

use crate::Error;
use crate::Harness;
use crate::crash;
use crate::shell;

impl Harness {
    /// Stores events of a client, all or none, and wakes the session. Answers them as they are stored, in order.
    pub async fn send(
        &self,
        session: &SessionRecord,
        events: Vec<ClientEvent>,
    ) -> Result<Vec<String>, Error> {
        if session.status == SessionStatus::Terminated || session.archived_at.is_some() {
            return Err(Error::Ended { id: session.id.clone() });
        }
        for (index, event) in events.iter().enumerate() {
            check(index, event, session)?;
        }
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let entries: Vec<NewEntry> = events
            .iter()
            .map(|event| {
                let waiting = waiting(event, session);
                entry(event, waiting.map_or(&session.thread, |waiting| &waiting.thread), &parts.ids, now)
            })
            .collect();
        let rendered = |entry: &NewEntry| entry.public.as_deref().map(|raw| render(raw, entry.processed_at));
        let answers = entries.iter().filter_map(rendered).collect();
        let known = events.iter().filter_map(|event| answer(event, session));
        let stored = self.append_answers(session.key, entries, known.collect(), Patch::default()).await;
        stored.map_err(|source| refusal(&events, &session.id, source))?;
        Ok(answers)
    }

    /// Appends by right of a client and wakes the session, even when the client hangs up meanwhile.
    pub(crate) async fn append_for_client(
        &self,
        session: i64,
        entries: Vec<NewEntry>,
        patch: Patch,
    ) -> Result<(), store::Error> {
        self.append_answers(session, entries, Vec::new(), patch).await
    }

    async fn append_answers(
        &self,
        session: i64,
        entries: Vec<NewEntry>,
        answers: Vec<Answer>,
        patch: Patch,
    ) -> Result<(), store::Error> {
        let fence = Fence::Client { claim: Some(self.0.claim()), answers };
        let append = Append { session, fence, entries, patch, jobs: Vec::new(), expected_head: None };
        let inner = Arc::clone(&self.0);
        let stored = self.0.see_through("append for a client", async move {
            let appended = inner.parts.store.append(append).await?;
            crash::point(inner.parts.crash.as_ref(), "input_stored");
            shell::wake(&inner, session, appended.lease);
            Ok(())
        });
        stored.await
    }
}

/// A client's event on its way to the log.
pub(crate) fn entry(event: &ClientEvent, thread: &ThreadId, ids: &Ids, now: Timestamp) -> NewEntry {
    #[derive(Serialize)]
    struct WithId<'a> {
        id: &'a EventId,
        #[serde(flatten)]
        body: &'a Map<String, Value>,
    }
    let id = ids.make();
    let public = raw(&WithId { id: &id, body: &event.body });
    NewEntry {
        thread: thread.clone(),
        id,
        kind: event.kind.event_kind(),
        public: Some(public),
        private: None,
        created_at: now,
        // A result is processed on receipt; everything else waits until it is picked up.
        processed_at: matches!(event.kind, ClientEventKind::CustomToolResult { .. }).then_some(now),
        processes: None,
    }
}

/// The call of an event that answers one, and what it gives.
fn named(event: &ClientEvent) -> Option<(EventId, Wants)> {
    let (call, gives) = match &event.kind {
        ClientEventKind::ToolConfirmation { tool_use_id, .. } => (tool_use_id, Wants::Confirmation),
        ClientEventKind::CustomToolResult { custom_tool_use_id } => (custom_tool_use_id, Wants::Result),
        ClientEventKind::Message | ClientEventKind::Interrupt { .. } | ClientEventKind::ToolResult { .. } => {
            return None;
        }
    };
    Some((EventId::parse(call)?, gives))
}

fn answer(event: &ClientEvent, session: &SessionRecord) -> Option<Answer> {
    let is_known = waiting(event, session).is_some();
    named(event).map(|(call, gives)| Answer { call, gives, is_known })
}

/// The call that waits for this event, as of the row that was read.
fn waiting<'a>(event: &ClientEvent, session: &'a SessionRecord) -> Option<&'a Waiting> {
    let (call, gives) = named(event)?;
    session.waiting.iter().find(|waiting| waiting.call == call && waiting.wants == gives)
}

/// The answer to events that the store refused.
fn refusal(events: &[ClientEvent], session: &SessionId, error: store::Error) -> Error {
    let calls = match error {
        store::Error::Waiting { calls } => calls,
        error => return Error::of_session("send events to", session, error),
    };
    let index = events.iter().position(|event| event.kind == ClientEventKind::Message).unwrap_or_default();
    let calls = calls.iter().map(EventId::as_str).collect::<Vec<_>>().join(", ");
    Error::invalid(format!(
        "Invalid user.message event at events[{index}]: waiting on responses to events [{calls}]; only \
         `user.tool_confirmation`, `user.custom_tool_result`, `user.tool_result`, or `user.interrupt` may be sent"
    ))
}

fn check(index: usize, event: &ClientEvent, session: &SessionRecord) -> Result<(), Error> {
    match &event.kind {
        ClientEventKind::ToolConfirmation { .. } | ClientEventKind::CustomToolResult { .. }
            if waiting(event, session).is_some() =>
        {
            Ok(())
        }
        ClientEventKind::Message | ClientEventKind::Interrupt { thread: None } => Ok(()),
        ClientEventKind::Interrupt { thread: Some(thread) } if *thread == session.thread => Ok(()),
        ClientEventKind::Interrupt { thread: Some(thread) } => Err(Error::invalid(format!(
            "events.{index}.session_thread_id: thread `{thread}` does not exist in this session"
        ))),
        ClientEventKind::ToolConfirmation { tool_use_id, .. } => Err(Error::invalid(format!(
            "events.{index}.tool_use_id: {tool_use_id} does not match any tool call of this session that waits for a \
             confirmation"
        ))),
        ClientEventKind::CustomToolResult { custom_tool_use_id } => Err(Error::invalid(format!(
            "events.{index}: tool_use_id {custom_tool_use_id} does not match any custom_tool_use event in this session"
        ))),
        ClientEventKind::ToolResult { tool_use_id } => Err(Error::invalid(format!(
            "events.{index}: tool_use_id {tool_use_id} belongs to no call that a client may answer; user.tool_result \
             is for self-hosted environments"
        ))),
    }
}
