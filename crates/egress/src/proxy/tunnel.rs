//! A connection to one target whose client says nothing more to the proxy: what it says to the host is looked at first.
//!
//! In a limited session the name inside must be the name outside: the server name of TLS, the host of every HTTP request.
//! Otherwise a host that shares its address with an allowed one could be reached by another name.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer;
use super::buffered::Buffered;
use super::link::Link;
use super::relay;
use super::relay::End;
use super::requests;
use super::terminated;
use crate::decide::Decision;
use crate::decide::Rule;
use crate::decide::Target;
use crate::hello;
use crate::hello::Hello;
use crate::hello::HelloError;
use crate::http;
use crate::http::Form;
use crate::http::HeadError;
use crate::limits::HEAD_TIME_MAX;
use crate::limits::IDLE_TIME_MAX;
use crate::limits::SNIFF_TIME_MAX;
use crate::policy::Host;
use crate::policy::Policy;
use crate::session::Session;
use crate::usage_log::Protocol;

/// Ports where the client speaks first.
const WEB_PORTS: [u16; 2] = [80, HTTPS_PORT];
const HTTPS_PORT: u16 = 443;
/// The first bytes of SSH, which is passed on by name and port alone.
const SSH: &[u8] = b"SSH-2.0-";

/// What a connection turned out to be.
enum Sniffed {
    /// Goes on unseen.
    Opaque(Protocol),
    /// HTTP whose requests are to be checked.
    Requests,
    /// TLS to a host whose requests may get secrets.
    Terminated,
    /// Goes no further.
    Refused(Protocol, Decision),
    /// The client has gone or takes too long.
    Gone,
}

/// Serves a connection whose target has been allowed by `rule`. `link` may stand already.
pub(super) async fn serve(
    session: &Arc<Session>,
    mut client: Buffered,
    target: &Target,
    rule: Rule,
    link: Option<Link>,
) -> Result<(), End> {
    let policy = session.policy();
    let terminates = session.terminates(&target.host);
    let protocol = match sniff(&policy, &mut client, target, terminates).await {
        Sniffed::Opaque(protocol) => protocol,
        Sniffed::Requests => return requests::serve_fixed(session, &mut client, target, link).await,
        Sniffed::Terminated => return terminated::serve(session, client, target, rule, link).await,
        Sniffed::Refused(protocol, decision) => {
            session.note(target, None, protocol, &decision);
            reject(&mut client, &decision).await;
            return Ok(());
        }
        Sniffed::Gone => return Err(requests::gone()),
    };
    let mut link = match link {
        Some(mut link) => {
            link.flow.protocol = protocol;
            link
        }
        None => match Link::open(session, &policy, target, protocol, rule).await {
            Ok(link) => link,
            Err(decision) => {
                send_refusal(&mut client, &decision, SNIFF_TIME_MAX).await;
                return Ok(());
            }
        },
    };
    let end = relay::relay(&mut client, &mut link).await;
    if let Err(End::Exhausted(exhausted)) = &end {
        let decision = Decision::refuse(Rule::Budget, &target.host, &exhausted.to_string());
        session.note(target, None, protocol, &decision);
    }
    end
}

/// Finds out what a connection is, where that matters.
async fn sniff(policy: &Policy, client: &mut Buffered, target: &Target, terminates: bool) -> Sniffed {
    let is_ruled = matches!(&target.host, Host::Name(name) if policy.has_request_rules(name));
    let is_strict = policy.is_limited() || is_ruled;
    if !is_strict && !terminates && policy.blocked_hosts.is_empty() && policy.requests.is_empty() {
        return Sniffed::Opaque(Protocol::Other);
    }
    let speaks_first = is_strict && (is_ruled || WEB_PORTS.contains(&target.port));
    if client.buffer.is_empty() {
        let waits = speaks_first || (terminates && target.port == HTTPS_PORT);
        let limit = if waits { IDLE_TIME_MAX } else { SNIFF_TIME_MAX };
        match client.fill(limit).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && !waits => {
                return Sniffed::Opaque(Protocol::Other);
            }
            Err(_) => return Sniffed::Gone,
        }
    }
    if hello::is_tls(client.buffer[0]) {
        return sniff_tls(policy, client, target, Traits { is_strict, is_ruled, terminates }).await;
    }
    if speaks_first {
        let is_opaque = client.buffer.starts_with(SSH) && !is_ruled;
        return if is_opaque { Sniffed::Opaque(Protocol::Other) } else { Sniffed::Requests };
    }
    sniff_http(policy, client, target).await
}

/// What is known of a connection before its first byte.
#[derive(Clone, Copy)]
struct Traits {
    /// The name inside must be the name outside.
    is_strict: bool,
    /// The operator has rules on requests to the host.
    is_ruled: bool,
    /// TLS to the host is terminated.
    terminates: bool,
}

async fn sniff_tls(policy: &Policy, client: &mut Buffered, target: &Target, traits: Traits) -> Sniffed {
    let Traits { is_strict, is_ruled, terminates } = traits;
    let refuse = |rule, why: &str| Sniffed::Refused(Protocol::Tls, Decision::refuse(rule, &target.host, why));
    if is_ruled {
        return refuse(Rule::RequestNotAllowed, "the operator permits plain HTTP only");
    }
    let deadline = Instant::now() + HEAD_TIME_MAX;
    let hello = loop {
        match hello::parse(&client.buffer) {
            Ok(hello) => break hello,
            Err(HelloError::Incomplete) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if client.fill(left).await.is_err() {
                    return Sniffed::Gone;
                }
            }
            Err(HelloError::Malformed(_)) if !is_strict => return Sniffed::Opaque(Protocol::Other),
            Err(error @ HelloError::Malformed(_)) => {
                return refuse(Rule::ProtocolNotAllowed, &error.to_string());
            }
        }
    };
    let Hello { server_name, has_encrypted_hello } = hello;
    if has_encrypted_hello && is_strict {
        let why = "the client encrypts the server name; turn Encrypted Client Hello off";
        return refuse(Rule::EncryptedHello, why);
    }
    match server_name {
        Some(name) => match requests::check_name(policy, target, &name) {
            // TLS to another name, which an unrestricted session may speak, gets no secrets.
            Ok(()) if terminates && Host::parse(&name).is_ok_and(|host| host == target.host) => {
                Sniffed::Terminated
            }
            Ok(()) => Sniffed::Opaque(Protocol::Tls),
            Err(decision) => Sniffed::Refused(Protocol::Tls, decision),
        },
        None if is_strict => refuse(Rule::ServerNameMissing, "the client does not name the server"),
        None => Sniffed::Opaque(Protocol::Tls),
    }
}

/// In an unrestricted session: HTTP is checked when it is surely HTTP, and anything else is let through.
async fn sniff_http(policy: &Policy, client: &mut Buffered, target: &Target) -> Sniffed {
    let deadline = Instant::now() + SNIFF_TIME_MAX;
    loop {
        match http::parse_request(&client.buffer) {
            Ok(request) if matches!(request.form, Form::Origin) => return Sniffed::Requests,
            // A request to some proxy outside.
            Ok(request) => {
                return match requests::check_host(policy, target, &request) {
                    Err(decision) if decision.rule == Rule::BlockedHost => {
                        Sniffed::Refused(Protocol::Http, decision)
                    }
                    Ok(()) | Err(_) => Sniffed::Opaque(Protocol::Http),
                };
            }
            Err(HeadError::Incomplete) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if client.fill(left).await.is_err() {
                    return Sniffed::Opaque(Protocol::Other);
                }
            }
            Err(HeadError::Malformed(_)) => return Sniffed::Opaque(Protocol::Other),
        }
    }
}

/// Tells a client that has not been asked anything why it gets nothing, in the protocol that it begins to speak.
pub(super) async fn send_refusal(client: &mut Buffered, decision: &Decision, limit: Duration) {
    if client.buffer.is_empty() && client.fill(limit).await.is_err() {
        return;
    }
    reject(client, decision).await;
}

async fn reject(client: &mut Buffered, decision: &Decision) {
    let answer = match client.buffer.first() {
        Some(first) if hello::is_tls(*first) => answer::TLS_ACCESS_DENIED.to_vec(),
        Some(first) if first.is_ascii_uppercase() => answer::http(decision),
        Some(_) | None => return,
    };
    client.close_with(&answer).await;
}
