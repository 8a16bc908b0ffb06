//! Requests over plain HTTP, checked one by one: every request of a kept-alive connection is for a host of its own.

use std::io;
use std::sync::Arc;

use super::answer;
use super::buffered::Buffered;
use super::exchange;
use super::exchange::Next;
use super::link::Link;
use super::relay;
use super::relay::End;
use crate::decide;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::http;
use crate::http::Authority;
use crate::http::Form;
use crate::http::HeadError;
use crate::http::Request;
use crate::limits::HEAD_BYTES_MAX;
use crate::limits::HEAD_TIME_MAX;
use crate::policy::Host;
use crate::policy::Policy;
use crate::session::Session;
use crate::usage_log::Protocol;

/// Reads the head of the next request, which is left on the buffer. `Ok(None)` when the client has gone between requests.
pub(super) async fn read(client: &mut Buffered) -> Result<Option<Request>, HeadError> {
    loop {
        match http::parse_request(&client.buffer) {
            Ok(request) => return Ok(Some(request)),
            Err(HeadError::Incomplete) if client.buffer.len() <= HEAD_BYTES_MAX => {
                let limit = exchange::patience(&client.buffer, HEAD_TIME_MAX);
                if client.fill(limit).await.is_err() {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Serves the requests of a connection that is for one target only. `link` may stand already.
pub(super) async fn serve_fixed(
    session: &Arc<Session>,
    client: &mut Buffered,
    target: &Target,
    mut link: Option<Link>,
) -> Result<(), End> {
    loop {
        let request = match read(client).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                return refuse(session, client, target, &malformed(&target.host, error)).await;
            }
        };
        client.consume(request.length);
        let policy = session.policy();
        if let Err(decision) = check_host(&policy, target, &request) {
            return refuse(session, client, target, &decision).await;
        }
        match forward(session, &policy, client, target, &request, &mut link).await? {
            Next::Request => {}
            Next::Close | Next::Switch => return Ok(()),
        }
    }
}

/// Whether a request on a connection to a target is for the target's host.
pub(super) fn check_host(policy: &Policy, target: &Target, request: &Request) -> Result<(), Decision> {
    let named = match (&request.form, &request.host) {
        (Form::Connect(_), _) => {
            let why = "a connection to it was used as one to a proxy";
            return Err(Decision::refuse(Rule::HostMismatch, &target.host, why));
        }
        (Form::Absolute(authority), _) | (Form::Origin, Some(authority)) => authority,
        (Form::Origin, None) if policy.is_limited() => {
            let why = "the request names no host";
            return Err(Decision::refuse(Rule::HostMismatch, &target.host, why));
        }
        (Form::Origin, None) => return Ok(()),
    };
    check_name(policy, target, &named.host)?;
    match named.port {
        Some(port) if port != target.port && policy.is_limited() => {
            let why = format!("the request is for its port {port} and the connection for {}", target.port);
            Err(Decision::refuse(Rule::HostMismatch, &target.host, &why))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a name inside a connection to a target is the target's, or at least one that might be reached as well.
pub(super) fn check_name(policy: &Policy, target: &Target, named: &str) -> Result<(), Decision> {
    let host = match Host::parse(named) {
        Ok(host) if host == target.host => return Ok(()),
        Ok(host) => host,
        Err(_) if !policy.is_limited() => return Ok(()),
        Err(error) => return Err(Decision::refuse(Rule::InvalidHost, &target.host, &error.to_string())),
    };
    if let Host::Name(name) = &host
        && policy.is_blocked(name)
    {
        return Err(Decision::refuse(Rule::BlockedHost, name, "the operator of this server blocks it"));
    }
    let is_ruled = matches!(&host, Host::Name(name) if policy.has_request_rules(name));
    if policy.is_limited() || is_ruled {
        let why = format!("a connection to {} was used to reach it", target.host);
        return Err(Decision::refuse(Rule::HostMismatch, &host, &why));
    }
    Ok(())
}

/// Decides about a request, connects where needed, and passes it on. A refusal is told to the client and ends the
/// connection.
pub(super) async fn forward(
    session: &Arc<Session>,
    policy: &Policy,
    client: &mut Buffered,
    target: &Target,
    request: &Request,
    link: &mut Option<Link>,
) -> Result<Next, End> {
    let decision = decide_request(session, policy, target, request);
    if !decision.allowed {
        refuse(session, client, target, &decision).await?;
        return Ok(Next::Close);
    }
    if link.as_ref().is_some_and(|link| link.target != *target || !link.is_fresh()) {
        *link = None;
    }
    let mut current = match link.take() {
        Some(mut link) => {
            link.flow.protocol = Protocol::Http;
            link
        }
        None => match Link::open(session, policy, target, Protocol::Http, decision.rule).await {
            Ok(link) => link,
            Err(decision) => {
                client.close_with(&answer::http(&decision)).await;
                return Ok(Next::Close);
            }
        },
    };
    let next = match exchange::exchange(client, &mut current, request).await {
        Ok(Next::Switch) => relay::relay(client, &mut current).await.map(|()| Next::Close),
        Ok(next) => Ok(next),
        Err(error) => Err(error),
    };
    if let Err(End::Exhausted(exhausted)) = &next {
        let decision = Decision::refuse(Rule::Budget, &target.host, &exhausted.to_string());
        session.note(target, None, Protocol::Http, &decision);
    }
    *link = Some(current);
    next
}

fn decide_request(session: &Session, policy: &Policy, target: &Target, request: &Request) -> Decision {
    let decision = session.decide(policy, target);
    match &target.host {
        Host::Name(name) if decision.allowed => {
            let about_request = decide::decide_request(policy, name, &request.method, &request.target);
            if about_request.allowed { decision } else { about_request }
        }
        Host::Name(_) | Host::Address(_) => decision,
    }
}

/// Tells a client why not, and notes it.
pub(super) async fn refuse(
    session: &Session,
    client: &mut Buffered,
    target: &Target,
    decision: &Decision,
) -> Result<(), End> {
    session.note(target, None, Protocol::Http, decision);
    client.close_with(&answer::http(decision)).await;
    Ok(())
}

/// The refusal of bytes that are no proper HTTP/1.
pub(super) fn malformed(host: &impl std::fmt::Display, error: HeadError) -> Decision {
    Decision::refuse(Rule::ProtocolNotAllowed, host, &error.to_string())
}

/// The host and port of a request that was made to the proxy itself.
pub(super) fn host_of(authority: &Authority, port: u16) -> Result<(Host, u16), Box<Decision>> {
    let port = authority.port.unwrap_or(port);
    match Host::parse(&authority.host) {
        Ok(host) => Ok((host, port)),
        Err(error) => Err(Box::new(Decision::refuse(Rule::InvalidHost, &authority.host, &error.to_string()))),
    }
}

/// An end that the client has brought about.
pub(super) fn gone() -> End {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
