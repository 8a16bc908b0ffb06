//! Connections of a sandbox: found out where they were going, decided about, passed on.

mod answer;
mod buffered;
mod exchange;
mod explicit;
mod link;
mod relay;
mod requests;
mod terminated;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use self::buffered::Buffered;
use self::relay::End;
use crate::decide::Decision;
use crate::decide::How;
use crate::decide::Rule;
use crate::decide::Target;
use crate::limits::CLOSING_TIME_MAX;
use crate::limits::HEAD_TIME_MAX;
use crate::policy::Host;
use crate::session::Session;
use crate::usage_log::Protocol;

/// How long accepting rests after it has failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections for as long as it is polled; dropping it ends them all.
pub(crate) async fn serve(session: Arc<Session>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(serving) = begin(&session, stream) {
                        connections.spawn(serving);
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The future that serves a new connection; `None` when the session has too many.
fn begin(session: &Arc<Session>, stream: TcpStream) -> Option<impl Future<Output = ()> + Send + use<>> {
    let destination = (session.settings().destination)(&stream).ok()?;
    let Some(permit) = session.connect() else {
        let target = target(session, destination);
        let decision = Decision::refuse(Rule::Budget, &target.host, "the session has too many connections");
        session.note(&target, None, Protocol::Other, &decision);
        return None;
    };
    let session = Arc::clone(session);
    Some(async move {
        let _permit = permit;
        session.granted().await;
        // Both ends have been told what there is to tell, and the usage log knows the rest.
        drop(serve_connection(&session, Buffered::new(stream), destination).await);
    })
}

async fn serve_connection(
    session: &Arc<Session>,
    mut client: Buffered,
    destination: SocketAddr,
) -> Result<(), End> {
    if destination == session.settings().proxy {
        return explicit::serve(session, client).await;
    }
    let target = target(session, destination);
    let decision = session.decide(&session.policy(), &target);
    if decision.allowed {
        return tunnel::serve(session, client, &target, decision.rule, None).await;
    }
    session.note(&target, None, Protocol::Other, &decision);
    let is_web = matches!(target.port, 80 | 443);
    tunnel::send_refusal(&mut client, &decision, if is_web { HEAD_TIME_MAX } else { CLOSING_TIME_MAX }).await;
    Ok(())
}

/// What a transparent connection is for.
fn target(session: &Session, destination: SocketAddr) -> Target {
    let address = destination.ip();
    let host = session.name(address).map_or(Host::Address(address), Host::Name);
    Target { host, port: destination.port(), how: How::Transparent }
}
