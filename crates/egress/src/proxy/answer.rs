//! What a client is told when it does not get what it wants.

use http::StatusCode;
use serde_json::json;

use crate::decide::Decision;
use crate::decide::Rule;
use crate::socks::Reply;

/// A fatal alert of TLS: access denied.
pub(super) const TLS_ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// What a client that asked for a tunnel gets once the tunnel stands.
pub(super) const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// What a client gets that takes the proxy for a web server.
pub(super) const NOT_A_SERVER: &str = "this is the sandbox's proxy, not a web server";

/// The status of HTTP for a rule that lets nothing through.
pub(super) fn status(rule: Rule) -> StatusCode {
    kind(rule).0
}

fn kind(rule: Rule) -> (StatusCode, &'static str) {
    match rule {
        Rule::NameNotFound | Rule::ResolveFailed | Rule::Unreachable | Rule::TlsFailed => {
            (StatusCode::BAD_GATEWAY, "api_error")
        }
        Rule::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timeout_error"),
        Rule::ProtocolNotAllowed => (StatusCode::BAD_REQUEST, "invalid_request_error"),
        Rule::Unrestricted
        | Rule::AllowedHosts
        | Rule::PackageManagers
        | Rule::McpServers
        | Rule::Operator
        | Rule::HostNotAllowed
        | Rule::BlockedHost
        | Rule::AddressLiteral
        | Rule::PortNotAllowed
        | Rule::AddressRefused
        | Rule::UnknownAddress
        | Rule::InvalidHost
        | Rule::HostMismatch
        | Rule::ServerNameMissing
        | Rule::EncryptedHello
        | Rule::RequestNotAllowed
        | Rule::NoPolicy
        | Rule::CertificateRejected
        | Rule::Budget => (StatusCode::FORBIDDEN, "permission_error"),
    }
}

/// What an answer in HTTP says, for programs and for people.
pub(super) fn body(decision: &Decision) -> Vec<u8> {
    let body = json!({
        "type": "error",
        "error": { "type": kind(decision.rule).1, "message": decision.text },
        "host": decision.host,
        "rule": decision.rule,
    });
    format!("{body}\n").into_bytes()
}

/// The host of a decision as a header can carry it: one that is none may have any bytes in it.
pub(super) fn host(decision: &Decision) -> String {
    decision.host.chars().filter(char::is_ascii_graphic).take(253).collect()
}

/// The answer in HTTP to a decision that lets nothing through.
pub(super) fn http(decision: &Decision) -> Vec<u8> {
    let body = body(decision);
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
         x-journeyman-blocked: {}\r\nx-journeyman-rule: {}\r\n\r\n",
        status(decision.rule),
        body.len(),
        host(decision),
        decision.rule,
    );
    [head.into_bytes(), body].concat()
}

/// The answer in SOCKS to a decision that lets nothing through.
pub(super) fn socks(decision: &Decision) -> Reply {
    match decision.rule {
        Rule::NameNotFound | Rule::Unreachable | Rule::TimedOut => Reply::HostUnreachable,
        Rule::ResolveFailed | Rule::TlsFailed => Reply::Failed,
        Rule::Unrestricted
        | Rule::AllowedHosts
        | Rule::PackageManagers
        | Rule::McpServers
        | Rule::Operator
        | Rule::HostNotAllowed
        | Rule::BlockedHost
        | Rule::AddressLiteral
        | Rule::PortNotAllowed
        | Rule::AddressRefused
        | Rule::UnknownAddress
        | Rule::InvalidHost
        | Rule::HostMismatch
        | Rule::ServerNameMissing
        | Rule::EncryptedHello
        | Rule::ProtocolNotAllowed
        | Rule::RequestNotAllowed
        | Rule::NoPolicy
        | Rule::CertificateRejected
        | Rule::Budget => Reply::NotAllowed,
    }
}
