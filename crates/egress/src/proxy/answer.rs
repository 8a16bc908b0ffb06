//! What a client is told when it does not get what it wants.

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

/// The answer in HTTP to a decision that lets nothing through.
pub(super) fn http(decision: &Decision) -> Vec<u8> {
    let (status, kind) = match decision.rule {
        Rule::NameNotFound | Rule::ResolveFailed | Rule::Unreachable => ("502 Bad Gateway", "api_error"),
        Rule::TimedOut => ("504 Gateway Timeout", "timeout_error"),
        Rule::ProtocolNotAllowed => ("400 Bad Request", "invalid_request_error"),
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
        | Rule::Budget => ("403 Forbidden", "permission_error"),
    };
    let body = json!({
        "type": "error",
        "error": { "type": kind, "message": decision.text },
        "host": decision.host,
        "rule": decision.rule,
    });
    let body = format!("{body}\n");
    // A host that is none may have any bytes in it.
    let host: String = decision.host.chars().filter(char::is_ascii_graphic).take(253).collect();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
         x-journeyman-blocked: {host}\r\nx-journeyman-rule: {}\r\n\r\n",
        body.len(),
        decision.rule,
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// The answer in SOCKS to a decision that lets nothing through.
pub(super) fn socks(decision: &Decision) -> Reply {
    match decision.rule {
        Rule::NameNotFound | Rule::Unreachable | Rule::TimedOut => Reply::HostUnreachable,
        Rule::ResolveFailed => Reply::Failed,
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
        | Rule::Budget => Reply::NotAllowed,
    }
}
