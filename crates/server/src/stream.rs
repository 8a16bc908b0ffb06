//! One event stream: follows a thread of a session and writes frames, without gap or duplicate.
//!
//! The stream subscribes first, then reads from the store what it was asked to repeat, then follows. `position` is the last entry of the
//! log that was considered; whatever the subscription delivers up to it is skipped, and a hole after it (or a note that
//! the subscription fell behind) sends the stream back to the store. Every frame of the log carries its entry's place
//! as `id`, so that `Last-Event-ID` continues exactly there.
//!
//! A queued event of a client shows twice: as it was sent, `processed_at` null, and at the entry that processed it.
//!
//! The body is pulled: nothing is read while the client takes nothing, and a client that takes nothing for long loses
//! its connection (`connection.rs`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::sync::Arc;

use api::emitted::Emitted;
use api::entry;
use api::entry::Entry;
use api::errors::Error;
use api::event_kinds::EventKind;
use api::event_kinds::Sender;
use api::ids::EventId;
use api::ids::RequestId;
use api::ids::ThreadId;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use axum::body::Body;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use store::Follower;
use store::SessionRecord;
use store::Signal;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use crate::Server;
use crate::error;
use crate::error::Failure;
use crate::limits::CATCH_UP_ENTRIES_MAX;
use crate::limits::QUEUED_EVENTS_MAX;
use crate::previews::Previews;
use crate::sse;
use crate::telemetry;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A client's request to follow a thread.
pub(crate) struct StreamRequest {
    /// Whose events.
    pub(crate) thread: ThreadId,
    /// Which previews.
    pub(crate) previews: Previews,
    /// The last entry that the client knows; `None` starts at now.
    pub(crate) after: Option<i64>,
}

/// Answers with the stream.
pub(crate) async fn open(
    server: &Arc<Server>,
    session: &SessionRecord,
    wanted: StreamRequest,
) -> Result<Response, Failure> {
    let StreamRequest { thread, previews, after } = wanted;
    let Ok(slot) = Arc::clone(&server.streams).try_acquire_owned() else {
        return Err(Failure::overloaded("Too many event streams are open"));
    };
    let follower = server.store.follow(session.key);
    // Read again: now whatever comes after its head is delivered, and a deletion would be told.
    let Some(session) = server.store.session_by_key(session.key).await? else {
        return Err(error::not_found("session", session.id.as_str()));
    };
    if after.is_some_and(|after| after > session.head) {
        return Err(Error::invalid("last-event-id: the session has no such event yet").into());
    }
    let mut heartbeat = tokio::time::interval(server.limits.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    metrics::gauge!(telemetry::STREAMS_OPEN).increment(1);
    let is_ended = session.status == SessionStatus::Terminated;
    let state = Stream {
        follower,
        server: Arc::clone(server),
        session: session.key,
        thread,
        position: after.unwrap_or(session.head),
        is_behind: after.is_some(),
        is_over: is_ended && after.is_none(),
        ends_when_caught_up: is_ended,
        queued: VecDeque::new(),
        previews,
        heartbeat,
        out: String::new(),
        _slot: slot,
    };
    let chunks = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, Infallible>(chunk), state))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

struct Stream {
    server: Arc<Server>,
    follower: Follower,
    session: i64,
    thread: ThreadId,
    position: i64,
    /// The store has, or may have, entries after `position` that the subscription will not deliver.
    is_behind: bool,
    /// Nothing comes after what is in `out`.
    is_over: bool,
    /// The session had ended before the stream began: there is nothing to wait for.
    ends_when_caught_up: bool,
    /// Events of clients shown as waiting, oldest first.
    queued: VecDeque<Arc<Entry>>,
    previews: Previews,
    heartbeat: Interval,
    /// Frames ready to go.
    out: String,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Stream {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::STREAMS_OPEN).decrement(1);
    }
}

impl Stream {
    /// The next frames; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.out.is_empty() {
                self.heartbeat.reset();
                return Some(mem::take(&mut self.out).into());
            }
            if self.is_over {
                return None;
            }
            let result = if self.is_behind { self.catch_up().await } else { self.wait().await };
            if let Err(error) = result {
                self.break_off(&error);
            }
        }
    }

    /// Reads on from the store.
    async fn catch_up(&mut self) -> Result<(), store::Error> {
        self.previews.forget();
        let entries = self.server.store.entries(self.session, self.position, CATCH_UP_ENTRIES_MAX).await?;
        self.is_behind = entries.len() >= CATCH_UP_ENTRIES_MAX;
        for entry in entries {
            self.position = entry.seq;
            self.show(&entry).await?;
        }
        if !self.is_behind && self.ends_when_caught_up {
            self.is_over = true;
        }
        Ok(())
    }

    /// Waits for the next thing to happen.
    async fn wait(&mut self) -> Result<(), store::Error> {
        tokio::select! {
            biased;
            () = self.server.shutdown.cancelled() => self.is_over = true,
            signal = self.follower.next() => return self.take(signal).await,
            _ = self.heartbeat.tick() => sse::heartbeat(&mut self.out),
        }
        Ok(())
    }

    async fn take(&mut self, signal: Signal) -> Result<(), store::Error> {
        match signal {
            Signal::Entries(entries) => {
                for entry in &*entries {
                    if entry.seq <= self.position {
                        continue;
                    }
                    if entry.seq > self.position + 1 {
                        self.is_behind = true;
                        return Ok(());
                    }
                    self.position = entry.seq;
                    self.show(entry).await?;
                    if entry.thread == self.thread {
                        self.previews.saw(entry);
                    }
                }
            }
            Signal::Preview(preview) => {
                if preview.thread == self.thread && self.previews.admits(&preview) {
                    let kind = if preview.starts { "event_start" } else { "event_delta" };
                    sse::frame(&mut self.out, None, kind, &preview.json);
                }
            }
            Signal::Lagged => {
                metrics::counter!(telemetry::STREAMS_LAGGED).increment(1);
                self.is_behind = true;
            }
            Signal::Deleted => self.say_deleted(),
            Signal::Closed => self.is_over = true,
        }
        Ok(())
    }

    /// Writes the frame of an entry, if it has one on this thread.
    async fn show(&mut self, entry: &Arc<Entry>) -> Result<(), store::Error> {
        if self.is_over {
            return Ok(());
        }
        if entry.kind == EventKind::JournalInputProcessed {
            return self.show_processed(entry).await;
        }
        if entry.thread != self.thread {
            return Ok(());
        }
        let Some(public) = &entry.public else {
            return Ok(());
        };
        let processed_at = first_processed_at(entry);
        sse::frame(&mut self.out, Some(entry.seq), entry.kind.as_str(), &entry::render(public, processed_at));
        if processed_at.is_none() {
            self.queued.push_back(Arc::clone(entry));
            if self.queued.len() > QUEUED_EVENTS_MAX {
                self.queued.pop_front();
            }
        }
        self.is_over = entry.kind == EventKind::SessionStatusTerminated;
        Ok(())
    }

    /// Writes the event that `marker` marks as processed, once more.
    async fn show_processed(&mut self, marker: &Entry) -> Result<(), store::Error> {
        let Some(id) = &marker.processes else {
            return Ok(());
        };
        let event = match self.take_queued(id) {
            Some(event) => Some(event),
            None => self.find(id, marker.seq).await?,
        };
        let Some(event) = event.filter(|event| event.thread == self.thread) else {
            return Ok(());
        };
        if let Some(public) = &event.public {
            let json = entry::render(public, Some(marker.created_at));
            sse::frame(&mut self.out, Some(marker.seq), event.kind.as_str(), &json);
        }
        Ok(())
    }

    fn take_queued(&mut self, id: &EventId) -> Option<Arc<Entry>> {
        let index = self.queued.iter().position(|event| event.id == *id)?;
        self.queued.remove(index)
    }

    /// An event that was appended before `seq`. It waited until then, so it is close: the log is read backwards.
    async fn find(&self, id: &EventId, seq: i64) -> Result<Option<Arc<Entry>>, store::Error> {
        let page = i64::try_from(CATCH_UP_ENTRIES_MAX).unwrap_or(i64::MAX);
        let mut end = seq;
        while end > 1 {
            let after = (end - 1 - page).max(0);
            let entries = self.server.store.entries(self.session, after, CATCH_UP_ENTRIES_MAX).await?;
            if let Some(event) = entries.into_iter().find(|entry| entry.id == *id) {
                return Ok(Some(event));
            }
            end = after + 1;
        }
        Ok(None)
    }

    fn say_deleted(&mut self) {
        let id: EventId = self.server.ids.make();
        let json = entry::render(&Emitted::Deleted.public(&id), Some(self.server.clock.now()));
        sse::frame(&mut self.out, None, Emitted::Deleted.kind().as_str(), &json);
        self.is_over = true;
    }

    /// Tells the client that the stream cannot go on; it may come back with its `Last-Event-ID`.
    fn break_off(&mut self, error: &store::Error) {
        let request: RequestId = self.server.ids.make();
        tracing::warn!(request.id = %request, %error, "an event stream broke off: {error}");
        let body = Failure::internal("The event stream broke off; connect again").body(&request);
        sse::frame(&mut self.out, None, "error", &body);
        self.is_over = true;
    }
}

/// The event's `processed_at` at the time it was appended.
///
/// Where an event of a client waited, the store has since put in the time of its processing; a stream that reads it
/// again shows what it showed then.
fn first_processed_at(entry: &Entry) -> Option<Timestamp> {
    let is_of_client = entry.kind.sender() == Sender::Client;
    entry.processed_at.filter(|stamp| !is_of_client || *stamp == entry.created_at)
}
