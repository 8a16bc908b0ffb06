//! Host names and what matches them.
//!
//! A [`Hostname`] in hand is normalised: IDNA applied, lower case, no trailing dot, labels within their bounds, and no
//! spelling of an address. Everything that compares names compares values of this type.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::address;

/// Longest name that DNS can carry.
const NAME_BYTES_MAX: usize = 253;
/// Longest label of a name.
const LABEL_BYTES_MAX: usize = 63;

/// Why a text is no host name or pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host name: {reason}")]
pub struct HostError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl HostError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(100).collect(), reason }
    }
}

/// A normalised name of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Normalises a name; refuses addresses in any spelling.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match Host::parse(text)? {
            Host::Name(name) => Ok(name),
            Host::Address(_) => Err(HostError::new(text, "it is an IP address")),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Hostname {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        Self::parse(&text)
    }
}

impl From<Hostname> for String {
    fn from(name: Hostname) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// What a client wants to reach: a name, or an address however it was spelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name that has to be looked up.
    Name(Hostname),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a URL, a `Host` header or a SOCKS request: a name, an IPv4 address in any spelling
    /// that `inet_aton` takes, or an IPv6 address with or without brackets.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(address) = address::parse_v6(text) {
            return Ok(Self::Address(address));
        }
        if text.len() > 4 * NAME_BYTES_MAX {
            return Err(HostError::new(text, "it is too long"));
        }
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY)
            .map_err(|_| HostError::new(text, "it is not valid in IDNA"))?;
        // Mapping comes first: digits and dots have look-alikes that IDNA turns into the plain ones.
        if let Some(address) = address::parse_v4(&ascii) {
            return Ok(Self::Address(address));
        }
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        check_name(name).map_err(|reason| HostError::new(text, reason))?;
        Ok(Self::Name(Hostname(name.to_ascii_lowercase().into())))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("it is too long");
    }
    for label in name.split('.') {
        let bytes = label.as_bytes();
        if bytes.is_empty() {
            return Err("it has an empty label");
        }
        if bytes.len() > LABEL_BYTES_MAX {
            return Err("one of its labels is too long");
        }
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !bytes.iter().all(is_plain) {
            return Err("only letters, digits, hyphens and dots may occur in it");
        }
        if matches!(bytes[0], b'-' | b'_') || bytes.ends_with(b"-") {
            return Err("one of its labels begins or ends with a hyphen or begins with an underscore");
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if address::is_number(last) {
        return Err("it ends in a number but is no IP address");
    }
    Ok(())
}

/// A name, or all names below one: `example.com` matches only itself, `*.example.com` every name that ends in
/// `.example.com`, and so not `example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    name: Hostname,
    is_wildcard: bool,
}

impl HostPattern {
    /// Reads a pattern. Schemes, ports, paths, addresses and other wildcards are refused.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.contains("://") {
            return Err(HostError::new(text, "leave out the scheme"));
        }
        if text.contains('/') {
            return Err(HostError::new(text, "leave out the path"));
        }
        if let Ok(Host::Address(_)) = Host::parse(text) {
            return Err(HostError::new(text, "it is an IP address"));
        }
        if text.contains(':') {
            return Err(HostError::new(text, "leave out the port"));
        }
        let (rest, is_wildcard) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
        if rest.contains('*') {
            return Err(HostError::new(text, "a wildcard may only stand for whole labels at the beginning"));
        }
        let name = Hostname::parse(rest).map_err(|error| HostError::new(text, error.reason))?;
        Ok(Self { name, is_wildcard })
    }

    /// A pattern that matches one name only.
    pub fn exact(name: Hostname) -> Self {
        Self { name, is_wildcard: false }
    }

    /// Whether the pattern matches a name.
    pub fn matches(&self, name: &Hostname) -> bool {
        if !self.is_wildcard {
            return self.name == *name;
        }
        let above = name.as_str().strip_suffix(self.name.as_str()).and_then(|rest| rest.strip_suffix('.'));
        above.is_some_and(|rest| !rest.is_empty())
    }

    /// Whether every name that `other` matches is matched by this pattern too.
    pub fn covers(&self, other: &Self) -> bool {
        if !other.is_wildcard {
            return self.matches(&other.name);
        }
        self.is_wildcard && (self.name == other.name || self.matches(&other.name))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_wildcard {
            f.write_str("*.")?;
        }
        self.name.fmt(f)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}
