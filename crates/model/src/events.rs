//! The events of a provider's answer.
//!
//! What the answer is is told by its first byte, not by its content type, which gateways leave out or get wrong: a JSON
//! object is one event, a page of HTML is none, anything else is a stream of events.

use std::collections::VecDeque;
use std::time::Duration;

use api::completion::Failure;
use api::completion::FailureKind;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::limits::DRAIN_TIMEOUT_MS;
use crate::limits::REPLY_BYTES_MAX;
use crate::sse;
use crate::sse::Event;
use crate::timeouts::Deadlines;
use crate::upstream::Upstream;

/// An answer that is being read.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    upstream: &'a Upstream,
    response: Response,
    deadlines: Deadlines,
    form: Form,
    /// The answer says that it is a stream of events.
    is_declared: bool,
    ready: VecDeque<Event>,
    bytes: usize,
}

#[derive(Debug)]
enum Form {
    /// Nothing but white space has come.
    Unknown,
    Stream {
        parser: Box<sse::Parser>,
        has_events: bool,
    },
    Object(Vec<u8>),
    Ended,
}

impl<'a> Events<'a> {
    pub(crate) fn new(upstream: &'a Upstream, response: Response, deadlines: Deadlines) -> Self {
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_declared = kind.to_ascii_lowercase().starts_with("text/event-stream");
        Self {
            upstream,
            response,
            deadlines,
            form: Form::Unknown,
            is_declared,
            ready: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The last event brought content, so the provider is at work.
    pub(crate) fn renew(&mut self) {
        self.deadlines.renew();
    }

    /// The next event; `None` at the end of the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match timeout_at(self.deadlines.next(), self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.take(&chunk)?,
                Ok(Ok(None)) => match self.end()? {
                    Some(event) => return Ok(Some(event)),
                    None => return Ok(None),
                },
                Ok(Err(error)) => return Err(self.upstream.broken("read the reply of", error)),
                Err(_) => return Err(self.fault(&self.deadlines.passed())),
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.bytes += chunk.len();
        if self.bytes > REPLY_BYTES_MAX {
            return Err(self.fault(&format!("sent a reply of more than {REPLY_BYTES_MAX} bytes")));
        }
        if matches!(self.form, Form::Unknown) {
            self.form = match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(()),
                Some(b'<') => return Err(self.no_stream()),
                Some(b'{') => Form::Object(Vec::new()),
                Some(_) => Form::Stream { parser: Box::default(), has_events: false },
            };
        }
        match &mut self.form {
            Form::Stream { parser, has_events } => {
                let ready = &mut self.ready;
                let read = parser.push(chunk, |event| ready.push_back(event));
                *has_events |= !ready.is_empty();
                read.map_err(|error| {
                    let what = format!("sent a reply that cannot be read: {error}");
                    self.upstream.failure(FailureKind::Unavailable, &what)
                })
            }
            Form::Object(body) => {
                body.extend_from_slice(chunk);
                Ok(())
            }
            Form::Unknown | Form::Ended => Ok(()),
        }
    }

    /// What is left when the answer has ended.
    fn end(&mut self) -> Result<Option<Event>, Failure> {
        match std::mem::replace(&mut self.form, Form::Ended) {
            Form::Object(body) => {
                let data = String::from_utf8_lossy(&body).into_owned();
                Ok(Some(Event { name: String::new(), data }))
            }
            // Text that never becomes an event is an answer of another kind.
            Form::Stream { parser, has_events: false } if !self.is_declared && parser.has_foreign_lines() => {
                Err(self.no_stream())
            }
            Form::Stream { .. } | Form::Unknown | Form::Ended => Ok(None),
        }
    }

    fn no_stream(&self) -> Failure {
        let status = self.response.status().as_u16();
        let what =
            format!("answered {status} with something that is not an event stream; is base_url right?");
        self.upstream.failure(FailureKind::Rejected, &what)
    }

    fn fault(&self, what: &str) -> Failure {
        self.upstream.failure(FailureKind::Unavailable, what)
    }

    /// Reads what follows the last event, so that the connection can be used again. A provider that sends more, or
    /// nothing, loses it.
    pub(crate) async fn drain(mut self) {
        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        if timeout(Duration::from_millis(DRAIN_TIMEOUT_MS), rest).await.is_err() {
            let provider = self.upstream.name();
            tracing::debug!(model.provider = %provider, "dropped a connection to {provider}: its reply did not end");
        }
    }
}
