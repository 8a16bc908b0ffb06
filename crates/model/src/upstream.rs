//! One HTTP provider: sends a request, reads the answer's events, and turns every way to fail into a [`Failure`].

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::error::Error as _;
use std::time::Duration;

use api::completion::Failure;
use api::completion::FailureKind;
use reqwest::Response;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use tokio::time::timeout;

use crate::failure;
use crate::failure::UpstreamError;
use crate::failure::failure;
use crate::limits::DRAIN_TIMEOUT_MS;
use crate::limits::ERROR_BODY_BYTES_MAX;
use crate::limits::REPLY_BYTES_MAX;
use crate::models::ConfigError;
use crate::secret::Secret;
use crate::sse;
use crate::sse::Event;

/// Where requests go and what they carry.
#[derive(Debug)]
pub(crate) struct Upstream {
    provider: String,
    url: Url,
    headers: HeaderMap,
    client: reqwest::Client,
    idle_timeout: Duration,
    /// Taken out of every message.
    secrets: Vec<Secret>,
}

/// The events of an answer.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    upstream: &'a Upstream,
    response: Response,
    parser: sse::Parser,
    ready: VecDeque<Event>,
    bytes: usize,
}

/// What a provider is made of.
pub(crate) struct Parts<'a> {
    pub(crate) provider: &'a str,
    pub(crate) base_url: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'a str, Secret)>,
    pub(crate) more_headers: &'a BTreeMap<String, Secret>,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) client: &'a reqwest::Client,
}

impl Upstream {
    /// Checks what the operator configured.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self, ConfigError> {
        let Parts { provider, base_url, path, headers, more_headers, idle_timeout_ms, client } = parts;
        let url = Url::parse(&format!("{}{path}", base_url.trim_end_matches('/'))).ok();
        let url = url.filter(|url| {
            let is_http = ["http", "https"].contains(&url.scheme());
            is_http && url.username().is_empty() && url.query().is_none() && url.fragment().is_none()
        });
        let url = url.ok_or_else(|| ConfigError::BaseUrl { provider: provider.to_owned() })?;
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let more = more_headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let mut secrets = Vec::new();
        for (name, value) in headers.into_iter().chain(more) {
            let wrong = || ConfigError::Header { provider: provider.to_owned(), header: name.to_owned() };
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut text = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            text.set_sensitive(true);
            map.insert(key, text);
            let bare = value.expose().strip_prefix("Bearer ").unwrap_or_else(|| value.expose());
            // Anything shorter is no key, and taking it out would garble the message.
            if bare.len() >= 8 {
                secrets.push(Secret::new(bare));
            }
        }
        let idle_timeout = Duration::from_millis(idle_timeout_ms);
        Ok(Self {
            provider: provider.to_owned(),
            url,
            headers: map,
            client: client.clone(),
            idle_timeout,
            secrets,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn post(&self, extra: HeaderMap, body: String) -> Result<Events<'_>, Failure> {
        let mut headers = self.headers.clone();
        headers.extend(extra);
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        let response = match timeout(self.idle_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.broken("send a request to", error)),
            Err(_) => return Err(self.silent("no answer")),
        };
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let status = response.status().as_u16();
            let what =
                format!("answered {status} with something that is not an event stream; is base_url right?");
            return Err(self.failure(FailureKind::Rejected, &what));
        }
        Ok(Events {
            upstream: self,
            response,
            parser: sse::Parser::default(),
            ready: VecDeque::new(),
            bytes: 0,
        })
    }

    /// A failure of this provider; `what` goes on from its name.
    pub(crate) fn failure(&self, kind: FailureKind, what: &str) -> Failure {
        failure(kind, self.scrub(format!("model provider {} {what}", self.provider)))
    }

    /// An error event in the middle of the answer.
    pub(crate) fn error_in_stream(&self, data: &str) -> Failure {
        let error = UpstreamError::parse(data.as_bytes()).unwrap_or_default();
        let what = format!("broke its reply off with an error{}", error.describe());
        self.failure(error.kind_in_stream(), &what)
    }

    async fn refused(&self, mut response: Response) -> Failure {
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_BYTES_MAX {
            let Ok(Ok(Some(chunk))) = timeout(self.idle_timeout, response.chunk()).await else {
                break;
            };
            let room = ERROR_BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let status = response.status().as_u16();
        let error = UpstreamError::parse(&body).unwrap_or_default();
        let mut what = format!("answered {status}{}", error.describe());
        if let Some(id) = failure::request_id(response.headers()) {
            what = format!("{what} (request {id})");
        }
        let kind = error.kind_of_status(status);
        let retry_after_ms = failure::retry_after_ms(response.headers()).filter(|_| kind.is_transient());
        Failure { retry_after_ms, ..self.failure(kind, &what) }
    }

    fn broken(&self, action: &str, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        let message = format!("{action} model provider {}: {reason}", self.provider);
        failure(FailureKind::Unavailable, self.scrub(message))
    }

    fn silent(&self, what: &str) -> Failure {
        let what = format!("was silent: {what} for {} ms", self.idle_timeout.as_millis());
        self.failure(FailureKind::Unavailable, &what)
    }

    fn scrub(&self, message: String) -> String {
        let scrub = |message: String, secret: &Secret| message.replace(secret.expose(), "[secret]");
        self.secrets.iter().fold(message, scrub)
    }
}

impl Events<'_> {
    /// The next event; `None` at the end of the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = match timeout(self.upstream.idle_timeout, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(self.upstream.broken("read the reply of", error)),
                Err(_) => return Err(self.upstream.silent("its reply stalled")),
            };
            self.bytes += chunk.len();
            if self.bytes > REPLY_BYTES_MAX {
                let what = format!("sent a reply of more than {REPLY_BYTES_MAX} bytes");
                return Err(self.upstream.failure(FailureKind::Rejected, &what));
            }
            let Self { parser, ready, upstream, .. } = self;
            parser.push(&chunk, |event| ready.push_back(event)).map_err(|error| {
                upstream.failure(FailureKind::Rejected, &format!("sent a reply that cannot be read: {error}"))
            })?;
        }
    }

    /// Reads what follows the last event, so that the connection can be used again. Whoever sends more, or nothing,
    /// loses it.
    pub(crate) async fn drain(mut self) {
        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        if timeout(Duration::from_millis(DRAIN_TIMEOUT_MS), rest).await.is_err() {
            let provider = &self.upstream.provider;
            tracing::debug!(model.provider = %provider, "dropped a connection to {provider}: its reply did not end");
        }
    }
}
