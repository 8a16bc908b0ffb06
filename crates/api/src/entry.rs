//! The entry of a session's log: what every layer below the HTTP routes passes around.
//!
//! `public` is the event that clients see, byte for byte, **without** its `processed_at` field: that field may be set
//! later and is put in when the event is rendered. `private` is what recovery and the model's context need and the
//! client must not see. An entry with neither is a bare fact of `kind`.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::event_kinds::EventKind;
use crate::ids::EventId;
use crate::ids::ThreadId;
use crate::time::Timestamp;

/// One entry, as stored. `seq` starts at 1 and has no gap within a session.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position in the session's log.
    pub seq: i64,
    /// The thread it belongs to.
    pub thread: ThreadId,
    /// Unique over all sessions; the public event's `id`.
    pub id: EventId,
    /// The public event's `type`, or a kind that no client sees.
    pub kind: EventKind,
    /// The public event as a JSON object without `processed_at`; `None` for an internal entry.
    pub public: Option<Arc<RawValue>>,
    /// What only the server may see.
    pub private: Option<Arc<RawValue>>,
    /// When it was appended.
    pub created_at: Timestamp,
    /// When it took effect; `None` while a client's event waits in the queue.
    pub processed_at: Option<Timestamp>,
    /// For [`EventKind::JournalInputProcessed`]: the event whose `processed_at` becomes this entry's `created_at`.
    pub processes: Option<EventId>,
}

/// An entry on its way to the log: everything but the position, which the store assigns.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// See [`Entry::thread`].
    pub thread: ThreadId,
    /// See [`Entry::id`].
    pub id: EventId,
    /// See [`Entry::kind`].
    pub kind: EventKind,
    /// See [`Entry::public`].
    pub public: Option<Arc<RawValue>>,
    /// See [`Entry::private`].
    pub private: Option<Arc<RawValue>>,
    /// See [`Entry::created_at`].
    pub created_at: Timestamp,
    /// See [`Entry::processed_at`].
    pub processed_at: Option<Timestamp>,
    /// See [`Entry::processes`].
    pub processes: Option<EventId>,
}

impl NewEntry {
    /// The entry at its place in the log.
    pub fn at(self, seq: i64) -> Entry {
        let Self { thread, id, kind, public, private, created_at, processed_at, processes } = self;
        Entry { seq, thread, id, kind, public, private, created_at, processed_at, processes }
    }
}

impl Entry {
    /// The public event with its `processed_at`, as clients read it; `None` for an internal entry.
    ///
    /// `processed_at` is appended to the stored object, so the stored bytes stay as they are.
    pub fn render(&self) -> Option<String> {
        self.public.as_ref().map(|public| render(public, self.processed_at))
    }
}

/// Puts `processed_at` into a stored public event.
pub fn render(public: &RawValue, processed_at: Option<Timestamp>) -> String {
    let body = public.get().trim_end();
    let open = body.strip_suffix('}').unwrap_or(body);
    let comma = if open.trim_end().ends_with('{') { "" } else { "," };
    match processed_at {
        Some(stamp) => format!("{open}{comma}\"processed_at\":\"{stamp}\"}}"),
        None => format!("{open}{comma}\"processed_at\":null}}"),
    }
}

/// A JSON text as a shared raw value.
///
/// # Panics
/// When `value` cannot be written as JSON; the types of this crate always can.
pub fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Arc<RawValue> {
    serde_json::value::to_raw_value(value).expect("plain data always becomes JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering_adds_processed_at_and_keeps_every_other_byte() {
        let stored =
            RawValue::from_string(r#"{"type":"user.message",  "x": 1.0e2,"id":"sevt_1"}"#.into()).unwrap();
        assert_eq!(
            render(&stored, Some(Timestamp(1))),
            r#"{"type":"user.message",  "x": 1.0e2,"id":"sevt_1","processed_at":"1970-01-01T00:00:00.000001Z"}"#
        );
        assert_eq!(
            render(&stored, None),
            r#"{"type":"user.message",  "x": 1.0e2,"id":"sevt_1","processed_at":null}"#
        );
    }
}
