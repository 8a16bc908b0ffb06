//! How long a provider may take. What counts is content: comments and pings of a server that has nothing to say do not
//! keep a request alive.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// Bounds on one request, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From the request to the first content of its reply. Long prompts and queues take minutes.
    pub first_content_ms: u64,
    /// Between two pieces of content. Models that think without showing it send none meanwhile.
    pub between_contents_ms: u64,
    /// From the request to the end of its reply.
    pub request_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { first_content_ms: 600_000, between_contents_ms: 300_000, request_ms: 3_600_000 }
    }
}

/// The bounds of a request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    timeouts: Timeouts,
    has_content: bool,
    content: Instant,
    request: Instant,
}

impl Deadlines {
    /// Those of a request that begins now.
    pub(crate) fn start(timeouts: Timeouts) -> Self {
        let after = |millis| Instant::now() + Duration::from_millis(millis);
        let (content, request) = (after(timeouts.first_content_ms), after(timeouts.request_ms));
        Self { timeouts, has_content: false, content, request }
    }

    /// Content has arrived.
    pub(crate) fn renew(&mut self) {
        self.has_content = true;
        self.content = Instant::now() + Duration::from_millis(self.timeouts.between_contents_ms);
    }

    /// When the request is given up.
    pub(crate) fn next(&self) -> Instant {
        self.content.min(self.request)
    }

    /// What has passed when [`Self::next`] has, to be told after the provider's name.
    pub(crate) fn passed(&self) -> String {
        let Timeouts { first_content_ms, between_contents_ms, request_ms } = self.timeouts;
        match (self.request <= self.content, self.has_content) {
            (true, _) => format!("did not finish its reply within {request_ms} ms (request_ms)"),
            (false, false) => format!("was silent: no content for {first_content_ms} ms (first_content_ms)"),
            (false, true) => {
                format!("was silent: its reply stalled for {between_contents_ms} ms (between_contents_ms)")
            }
        }
    }
}
