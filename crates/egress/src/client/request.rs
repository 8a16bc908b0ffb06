//! A request and its bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use url::Url;

use super::ClientError;
use crate::policy::Host;
use crate::policy::Policy;

/// The bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until the head of each response, connecting included.
    pub first_byte_time: Duration,
    /// Between two parts of the body.
    pub idle_time: Duration,
    /// From the call to the end of the body, redirects included. `None` for streams that go on.
    pub whole_time: Option<Duration>,
    /// Bytes of the body, as they come and decompressed.
    pub response_bytes_max: u64,
    /// Redirects that are followed.
    pub redirects_max: u32,
}

impl Default for Bounds {
    /// For an answer that is awaited: a page, a token, a call of a tool.
    fn default() -> Self {
        Self {
            first_byte_time: Duration::from_mins(1),
            idle_time: Duration::from_mins(1),
            whole_time: Some(Duration::from_mins(2)),
            response_bytes_max: 8 * 1024 * 1024,
            redirects_max: 5,
        }
    }
}

impl Bounds {
    /// For server-sent events: no bound on the whole, and comments of the server keep an idle stream open.
    pub fn stream() -> Self {
        Self { whole_time: None, idle_time: Duration::from_mins(5), ..Self::default() }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) bounds: Bounds,
}

impl Request {
    /// A request without a body, within the usual bounds.
    pub fn new(method: Method, url: &str) -> Result<Self, ClientError> {
        let url = Url::parse(url).map_err(|error| ClientError::InvalidUrl { reason: error.to_string() })?;
        let request = Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            policy: None,
            bounds: Bounds::default(),
        };
        request.destination()?;
        Ok(request)
    }

    /// Sends a header. A value that is marked as sensitive stays with the origin of the URL, as `Authorization` and
    /// `Cookie` do.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sends a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Requires that a session's policy permits the host, besides the operator's rules.
    #[must_use]
    pub fn policy(mut self, policy: Arc<Policy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets the bounds.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The host and port that the request goes to.
    pub(super) fn destination(&self) -> Result<(Host, u16), ClientError> {
        let invalid = |reason: &str| ClientError::InvalidUrl { reason: reason.to_owned() };
        let port = match self.url.scheme() {
            "https" => 443,
            "http" => 80,
            _ => return Err(invalid("only https and http are possible")),
        };
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(invalid("leave out the user and the password"));
        }
        let host = self.url.host_str().ok_or_else(|| invalid("it names no host"))?;
        let host = Host::parse(host).map_err(|error| invalid(&error.to_string()))?;
        Ok((host, self.url.port().unwrap_or(port)))
    }

    pub(super) fn host_text(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}
