//! One HTTP provider: sends a request, and turns every way to fail into a [`Failure`].

use std::collections::BTreeMap;
use std::error::Error as _;

use api::completion::Failure;
use api::completion::FailureKind;
use reqwest::Response;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use tokio::time::timeout_at;

use crate::events::Events;
use crate::failure;
use crate::failure::UpstreamError;
use crate::failure::failure;
use crate::limits::ERROR_BODY_BYTES_MAX;
use crate::models::ConfigError;
use crate::secret::Secret;
use crate::timeouts::Deadlines;
use crate::timeouts::Timeouts;

/// Where requests go and what they carry.
#[derive(Debug)]
pub(crate) struct Upstream {
    provider: String,
    url: Url,
    headers: HeaderMap,
    client: reqwest::Client,
    timeouts: Timeouts,
    /// Taken out of every message.
    secrets: Vec<Secret>,
}

/// What a provider is made of.
pub(crate) struct Parts<'a> {
    pub(crate) provider: &'a str,
    pub(crate) base_url: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'a str, Secret)>,
    pub(crate) more_headers: &'a BTreeMap<String, Secret>,
    pub(crate) timeouts: Timeouts,
    pub(crate) client: &'a reqwest::Client,
}

impl Upstream {
    /// Checks what the operator configured.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self, ConfigError> {
        let Parts { provider, base_url, path, headers, more_headers, timeouts, client } = parts;
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
        Ok(Self {
            provider: provider.to_owned(),
            url,
            headers: map,
            client: client.clone(),
            timeouts,
            secrets,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn post(&self, extra: HeaderMap, body: String) -> Result<Events<'_>, Failure> {
        let mut headers = self.headers.clone();
        headers.extend(extra);
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        let deadlines = Deadlines::start(self.timeouts);
        let response = match timeout_at(deadlines.next(), request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.broken("send a request to", error)),
            Err(_) => return Err(self.failure(FailureKind::Unavailable, &deadlines.passed())),
        };
        if !response.status().is_success() {
            return Err(self.refused(response, &deadlines).await);
        }
        Ok(Events::new(self, response, deadlines))
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

    async fn refused(&self, mut response: Response, deadlines: &Deadlines) -> Failure {
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_BYTES_MAX {
            let Ok(Ok(Some(chunk))) = timeout_at(deadlines.next(), response.chunk()).await else {
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

    /// A connection that failed.
    pub(crate) fn broken(&self, action: &str, error: reqwest::Error) -> Failure {
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

    /// The provider's name, for the log.
    pub(crate) fn name(&self) -> &str {
        &self.provider
    }

    fn scrub(&self, message: String) -> String {
        let scrub = |message: String, secret: &Secret| message.replace(secret.expose(), "[secret]");
        self.secrets.iter().fold(message, scrub)
    }
}
