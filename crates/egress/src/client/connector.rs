//! Makes the connections of the client: checked address, pinned for the life of the connection, TLS where the URL says so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower_service::Service;

use crate::decide::How;
use crate::decide::Target;
use crate::dial;
use crate::dial::Failure;
use crate::policy::Host;
use crate::policy::Policy;
use crate::resolve::Cache;
use crate::tls;
use crate::tls::Roots;
use crate::tls::Stream;

/// A connection could not be made.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{}", .0.decision.text)]
    Dial(Box<Failure>),
    #[error("{reason}")]
    Tls { host: String, reason: String },
    #[error("it took longer than {after:?}")]
    TimedOut { host: String, after: Duration },
}

/// Connects to what a URL names.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) policy: Arc<Policy>,
    pub(super) names: Arc<Cache>,
    pub(super) roots: Arc<Roots>,
    pub(super) connect_time: Duration,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, ConnectError> {
        let text = uri.host().unwrap_or_default();
        let (host, after) = (text.to_owned(), self.connect_time);
        let late = |_| ConnectError::TimedOut { host, after };
        timeout(after, self.connect_unbounded(&uri)).await.map_err(late)?
    }

    async fn connect_unbounded(&self, uri: &Uri) -> Result<TokioIo<Stream>, ConnectError> {
        let text = uri.host().unwrap_or_default();
        let failed = |reason: String| ConnectError::Tls { host: text.to_owned(), reason };
        let host = Host::parse(text).map_err(|error| failed(error.to_string()))?;
        let has_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if has_tls { 443 } else { 80 });
        let target = Target { host, port, how: How::Request };
        let dialled = dial::dial(&self.names, &self.policy, &target).await;
        let (stream, _) = dialled.map_err(ConnectError::Dial)?;
        // Requests are small and awaited; an error here would show at the next use.
        drop(stream.set_nodelay(true));
        if !has_tls {
            return Ok(TokioIo::new(Stream::plain(stream)));
        }
        let roots = self.roots.load().await.map_err(|error| failed(error.to_string()))?;
        let config = tls::client_config(roots, &[tls::HTTP2, tls::HTTP1]);
        let stream = tls::connect(config, &target.host, stream).await;
        Ok(TokioIo::new(stream.map_err(|error| failed(error.to_string()))?))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
