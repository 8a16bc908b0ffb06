//! Which previews a stream shows.
//!
//! A client may only see a preview whole from its beginning, as a prefix: the official accumulator raises on a delta
//! without its `event_start`. So a stream shows the previews of a model request only if it has itself followed the log
//! from the request's start: none for the request in which it came, and after a gap none until the next one.

use api::entry::Entry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::lists::StreamOptions;
use store::Preview;

/// A client's wishes for previews, and the model request under way as the stream has seen it.
#[derive(Debug)]
pub(crate) struct Previews {
    wishes: StreamOptions,
    /// The model request under way: the event that began it.
    request: Option<EventId>,
}

impl Previews {
    /// For a client with these wishes.
    pub(crate) fn new(wishes: StreamOptions) -> Self {
        Self { wishes, request: None }
    }

    /// The client gets this preview.
    pub(crate) fn admits(&self, preview: &Preview) -> bool {
        self.wishes.previews(&preview.kind) && self.request.as_ref() == Some(&preview.span)
    }

    /// Takes note of an entry that the stream got live and has shown.
    pub(crate) fn saw(&mut self, entry: &Entry) {
        if entry.kind == EventKind::SpanModelRequestStart {
            self.request = Some(entry.id.clone());
        } else if entry.kind == EventKind::SpanModelRequestEnd {
            self.request = None;
        }
    }

    /// Shows nothing more until the next model request begins.
    pub(crate) fn forget(&mut self) {
        self.request = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ids::ThreadId;
    use api::time::Timestamp;

    fn event(id: &str) -> EventId {
        EventId::parse(id).unwrap()
    }

    fn entry(kind: EventKind, id: &str) -> Entry {
        Entry {
            seq: 1,
            thread: ThreadId::parse("sthr_1").unwrap(),
            id: event(id),
            kind,
            public: None,
            private: None,
            created_at: Timestamp(0),
            processed_at: None,
            processes: None,
        }
    }

    fn preview(kind: EventKind, request: &str) -> Preview {
        let thread = ThreadId::parse("sthr_1").unwrap();
        Preview { thread, span: event(request), json: "{}".into(), kind, starts: true }
    }

    #[test]
    fn previews_are_shown_from_the_start_of_their_request_to_its_end() {
        let mut previews = Previews::new(StreamOptions { previews_messages: true, previews_thinking: false });
        previews.saw(&entry(EventKind::SpanModelRequestStart, "sevt_1"));
        assert!(previews.admits(&preview(EventKind::AgentMessage, "sevt_1")));
        assert!(!previews.admits(&preview(EventKind::AgentThinking, "sevt_1")), "not asked for");
        assert!(!previews.admits(&preview(EventKind::AgentMessage, "sevt_0")), "of a request before");
        previews.saw(&entry(EventKind::AgentMessage, "sevt_2"));
        assert!(previews.admits(&preview(EventKind::AgentMessage, "sevt_1")));
        previews.saw(&entry(EventKind::SpanModelRequestEnd, "sevt_3"));
        assert!(!previews.admits(&preview(EventKind::AgentMessage, "sevt_1")), "after its end");
    }

    #[test]
    fn a_stream_that_came_in_the_middle_of_a_request_gets_none_for_it() {
        let mut previews = Previews::new(StreamOptions { previews_messages: true, previews_thinking: true });
        assert!(!previews.admits(&preview(EventKind::AgentThinking, "sevt_1")));
        previews.saw(&entry(EventKind::SpanModelRequestStart, "sevt_2"));
        assert!(previews.admits(&preview(EventKind::AgentThinking, "sevt_2")));
        previews.forget();
        assert!(!previews.admits(&preview(EventKind::AgentMessage, "sevt_2")), "after a gap");
    }
}
