//! Host names in an environment, and which of an agent's MCP servers they let through.
//!
//! A pattern is a bare name, which matches only itself, or `*.` and a domain, which matches every name below the domain and
//! not the domain. What is accepted here is what the proxy of the sandboxes can enforce.

use crate::body::Field;
use crate::body::excerpt;
use crate::environments::Config;
use crate::environments::Networking;
use crate::errors::Error;
use crate::limits::DOMAIN_CHARS_MAX;
use crate::limits::HOSTS_MAX;
use crate::mcp::McpServer;

/// Longest name that DNS can carry.
const NAME_CHARS_MAX: usize = 253;
/// Longest label of a name.
const LABEL_CHARS_MAX: usize = 63;

/// Reads `allowed_hosts`.
pub(super) fn parse(field: &Field<'_>) -> Result<Vec<String>, Error> {
    field.items(0, HOSTS_MAX, |item| {
        let host = item.string(1, DOMAIN_CHARS_MAX)?;
        check(host.strip_prefix("*.").unwrap_or(&host)).map_err(|message| item.error(message))?;
        Ok(host)
    })
}

fn check(name: &str) -> Result<(), &'static str> {
    const FORM: &str = "Input should be a hostname or `*.` and a domain, without scheme, port or path";
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.split('.').all(is_label) {
        return Err(FORM);
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) {
        return Err("IP addresses are not supported; provide a plain hostname like \"example.com\"");
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty()
        && label.len() <= LABEL_CHARS_MAX
        && label.bytes().all(is_plain)
        && !label.starts_with(['-', '_'])
        && !label.ends_with('-')
}

/// A name that ends so is an IPv4 address to a resolver.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}

/// A host is one of those that a list of patterns names.
pub fn is_within(host: &str, patterns: &[String]) -> bool {
    let host = normal(host);
    patterns.iter().any(|pattern| {
        let pattern = normal(pattern);
        match pattern.strip_prefix('*') {
            // The rest begins with a dot, so that a label never matches in part.
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == pattern,
        }
    })
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The host of a URL, without user, port and brackets.
pub fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => place.split(':').next().unwrap_or(place),
    };
    (!host.is_empty()).then_some(host)
}

/// Refuses an agent whose MCP servers an environment of limited networking would keep out.
pub fn check_mcp_servers(config: &Config, servers: &[McpServer]) -> Result<(), Error> {
    let Config::Cloud {
        networking: Networking::Limited { allow_mcp_servers: false, allow_package_managers: _, allowed_hosts },
        packages: _,
    } = config
    else {
        return Ok(());
    };
    let is_out = |server: &&McpServer| {
        let host = host_of(&server.url);
        !host.is_some_and(|host| is_within(host, allowed_hosts))
    };
    let Some(McpServer { name, url }) = servers.iter().find(is_out) else {
        return Ok(());
    };
    let host = host_of(url).unwrap_or(url);
    Err(Error::invalid(format!(
        "environment_id: The agent's MCP server '{}' is at '{}', which is not in the environment's \
         `config.networking.allowed_hosts`, and `allow_mcp_servers` is false",
        excerpt(name),
        excerpt(host)
    )))
}
