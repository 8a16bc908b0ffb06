//! The HTTP client for addresses that a user gave: MCP servers, OAuth endpoints, webhooks, fetched pages, repositories.
//!
//! A user may name any address, so every address is treated as hostile:
//! - the host is decided about by the operator's rules and, where a session asks, by the session's policy;
//! - each address that the name leads to is checked, and the connection goes to a checked address ([`crate::dial`]);
//! - redirects are followed here, each decided about like a first request, and secrets stay with their origin;
//! - TLS is required unless the operator permits plain HTTP to the host;
//! - time, bytes (also decompressed ones), headers, redirects, and requests per host are bounded.
//!
//! Connections are kept and used again; their address was checked when they were made.

mod body;
mod connector;
mod error;
mod hosts;
mod redirect;
mod request;
mod response;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Version;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use self::connector::Connector;
pub use self::error::ClientError;
pub use self::error::Phase;
pub use self::hosts::HostLimits;
use self::hosts::Hosts;
pub use self::request::Bounds;
pub use self::request::Request;
pub use self::response::Response;
use crate::decide;
use crate::decide::How;
use crate::decide::Target;
use crate::limits::HEAD_BYTES_MAX;
use crate::limits::HEADERS_MAX;
use crate::limits::POOL_IDLE_TIME_MAX;
use crate::limits::POOLED_PER_HOST_MAX;
use crate::policy::Access;
use crate::policy::Policy;
use crate::resolve::Cache;
use crate::resolve::Resolve;
use crate::resolve::System;
use crate::rules::OperatorRules;
use crate::tasks::Tasks;
use crate::tls::Roots;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("journeyman/", env!("CARGO_PKG_VERSION")));

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decide which hosts, networks and schemes are permitted.
    pub rules: OperatorRules,
    /// Looks up names.
    pub resolver: Arc<dyn Resolve>,
    /// Bounds per host.
    pub host_limits: HostLimits,
    /// Longest time to look up, connect and agree on TLS.
    pub connect_time: Duration,
    /// The authorities that hosts must be certified by.
    pub roots: Arc<Roots>,
}

impl Options {
    /// The usual bounds, under these rules.
    pub fn new(rules: OperatorRules) -> Self {
        Self {
            rules,
            resolver: Arc::new(System::default()),
            host_limits: HostLimits::default(),
            connect_time: crate::limits::CONNECT_TIME_MAX,
            roots: Arc::default(),
        }
    }
}

/// Sends requests to addresses that a user gave. Clones share connections and limits.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: OperatorRules,
    policy: Arc<Policy>,
    hosts: Hosts,
    http: legacy::Client<Connector, Full<Bytes>>,
    /// The tasks of the connections.
    _tasks: Tasks,
}

impl Client {
    /// A client. Connects to nothing yet.
    pub fn new(options: Options) -> Self {
        let Options { rules, resolver, host_limits, connect_time, roots } = options;
        let policy = Arc::new(rules.policy(Access::Unrestricted));
        let connector = Connector {
            policy: Arc::clone(&policy),
            names: Arc::new(Cache::new(resolver)),
            roots,
            connect_time,
        };
        let tasks = Tasks::default();
        let http = legacy::Client::builder(tasks.executor())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIME_MAX)
            .pool_max_idle_per_host(POOLED_PER_HOST_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .build(connector);
        Self(Arc::new(Inner { rules, policy, hosts: Hosts::new(host_limits), http, _tasks: tasks }))
    }

    /// Sends a request, following redirects, and returns once the head of the final response is there. The body is read
    /// from the [`Response`], still within the request's bounds.
    pub async fn send(&self, request: Request) -> Result<Response, ClientError> {
        let bounds = request.bounds;
        let host = request.host_text();
        let deadline = bounds.whole_time.map(|limit| Instant::now() + limit);
        let following = self.follow(request, deadline);
        let Some(deadline) = deadline else { return following.await };
        let late = |_| ClientError::TimedOut {
            host,
            phase: Phase::Whole,
            after: bounds.whole_time.unwrap_or_default(),
        };
        timeout_at(deadline, following).await.map_err(late)?
    }

    async fn follow(&self, mut request: Request, deadline: Option<Instant>) -> Result<Response, ClientError> {
        let mut redirects = 0;
        loop {
            let target = self.check(&request)?;
            let permit = self.0.hosts.enter(&target.host).await?;
            let response = self.exchange(&request).await?;
            if !redirect::follow(&mut request, response.status(), response.headers())? {
                return Response::new(request, response, permit, deadline);
            }
            redirects += 1;
            if redirects > request.bounds.redirects_max {
                let reason = "it redirected too often";
                return Err(ClientError::Redirect { host: request.host_text(), reason: reason.to_owned() });
            }
        }
    }

    /// Decides about the host and the scheme of a request. Its addresses are checked when a connection is made.
    fn check(&self, request: &Request) -> Result<Target, ClientError> {
        let (host, port) = request.destination()?;
        let has_tls = request.url.scheme() == "https";
        if !has_tls && !self.0.rules.permits_plain_http(&host) {
            return Err(ClientError::PlainHttp { host: host.to_string() });
        }
        let target = Target { host, port, how: How::Request };
        for policy in [Some(&self.0.policy), request.policy.as_ref()].into_iter().flatten() {
            let decision = decide::decide(policy, &target);
            if !decision.allowed {
                return Err(ClientError::Refused { decision, address: None });
            }
        }
        Ok(target)
    }

    /// One request and the head of its response.
    async fn exchange(&self, request: &Request) -> Result<http::Response<Incoming>, ClientError> {
        let invalid = |error: http::Error| ClientError::InvalidUrl { reason: error.to_string() };
        let mut message = http::Request::builder()
            .method(request.method.clone())
            .uri(&request.url[..url::Position::AfterQuery])
            .version(Version::HTTP_11)
            .body(Full::new(request.body.clone()))
            .map_err(invalid)?;
        *message.headers_mut() = request.headers.clone();
        let headers = message.headers_mut();
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
        let (host, after) = (request.host_text(), request.bounds.first_byte_time);
        match timeout(after, self.0.http.request(message)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(ClientError::from_exchange(host, &error)),
            Err(_) => Err(ClientError::TimedOut { host, phase: Phase::FirstByte, after }),
        }
    }
}
