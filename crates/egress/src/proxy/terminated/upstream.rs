//! The connections to the host of a terminated connection, verified by the authorities that this system trusts.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use http::Uri;
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower_service::Service;

use super::streams::HostStream;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::limits::CONNECT_TIME_MAX;
use crate::proxy::link::Link;
use crate::session::Session;
use crate::tls;
use crate::tls::Stream;
use crate::usage_log::Protocol;

/// Connects to one target, whatever a URL says: requests were checked to be for it.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Parts>);

struct Parts {
    session: Arc<Session>,
    target: Target,
    rule: Rule,
    /// The connection that stood before the client said anything.
    first: Mutex<Option<Link>>,
    protocols: Vec<&'static [u8]>,
}

/// There is no connection to the host.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.text)]
pub(super) struct NoConnection(Decision);

impl Upstream {
    pub(super) fn new(
        session: &Arc<Session>,
        target: &Target,
        rule: Rule,
        link: Option<Link>,
        protocols: &[&'static [u8]],
    ) -> Self {
        let (session, target) = (Arc::clone(session), target.clone());
        let (first, protocols) = (Mutex::new(link), protocols.to_vec());
        Self(Arc::new(Parts { session, target, rule, first, protocols }))
    }

    async fn connect(self) -> Result<TokioIo<Stream>, NoConnection> {
        let Parts { session, target, rule, first, protocols } = &*self.0;
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut link = match first {
            Some(link) => link,
            None => Link::open(session, &session.policy(), target, Protocol::Tls, *rule)
                .await
                .map_err(NoConnection)?,
        };
        link.flow.protocol = Protocol::Tls;
        let agreeing = async {
            let config = tls::client_config(session.settings().roots.load().await?, protocols);
            tls::connect(config, &target.host, HostStream::new(link)).await
        };
        let reason = match timeout(CONNECT_TIME_MAX, agreeing).await {
            Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        let text = format!("host {} cannot be reached over TLS: {reason}", target.host);
        let decision = Decision::fail(Rule::TlsFailed, &target.host, &text);
        session.note(target, None, Protocol::Tls, &decision);
        Err(NoConnection(decision))
    }
}

impl Service<Uri> for Upstream {
    type Response = TokioIo<Stream>;
    type Error = NoConnection;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// Why a request to a target got no response.
pub(super) fn decision(target: &Target, error: &legacy::Error) -> Decision {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let mut reason = error.to_string();
    while let Some(current) = source {
        if let Some(NoConnection(decision)) = current.downcast_ref() {
            return decision.clone();
        }
        reason = current.to_string();
        source = current.source();
    }
    let text = format!("host {} ended the exchange: {reason}", target.host);
    Decision::fail(Rule::Unreachable, &target.host, &text)
}
