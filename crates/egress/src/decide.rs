//! Decisions: pure functions of the policy and of what a client asks for.
//!
//! Every decision has a rule, which programs read, and a text that names the host, which people and models read.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;

use crate::address::Refusal;
use crate::policy::Access;
use crate::policy::Host;
use crate::policy::Hostname;
use crate::policy::Policy;
use crate::policy::Reason;
use crate::policy::RequestRule;

/// Ports that limited sessions may reach.
pub const LIMITED_PORTS: [u16; 2] = [80, 443];

/// What a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name or address.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// How the client asked.
    pub how: How,
}

/// How a client asked for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// `CONNECT host:port`.
    Connect,
    /// A request with an absolute URL.
    Request,
    /// SOCKS5.
    Socks,
    /// By connecting, without knowing of any proxy.
    Transparent,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Allowed: the environment is unrestricted.
    Unrestricted,
    /// Allowed by `allowed_hosts`.
    AllowedHosts,
    /// Allowed by `allow_package_managers`.
    PackageManagers,
    /// Allowed by `allow_mcp_servers`.
    McpServers,
    /// Allowed by the operator.
    Operator,
    /// Refused: the host is on no list of the environment.
    HostNotAllowed,
    /// Refused: the operator blocks the host.
    BlockedHost,
    /// Refused: a limited session may reach hosts by name only.
    AddressLiteral,
    /// Refused: a limited session may reach the web's ports only.
    PortNotAllowed,
    /// Refused: the address, or one of the name's addresses, is private, reserved or this host's.
    AddressRefused,
    /// Refused: nobody has asked for the name of this address.
    UnknownAddress,
    /// Refused: what the client names is no host.
    InvalidHost,
    /// Refused: the connection was for another host than the one that is named inside it.
    HostMismatch,
    /// Refused: TLS without a server name.
    ServerNameMissing,
    /// Refused: TLS with an encrypted server name.
    EncryptedHello,
    /// Refused: neither TLS nor HTTP/1, or not as its standard says.
    ProtocolNotAllowed,
    /// Refused: no rule of the operator permits this request.
    RequestNotAllowed,
    /// Refused: the session has used up its bytes or has too many connections.
    Budget,
    /// Refused: the server has not said yet what the session may reach.
    NoPolicy,
    /// Failed: the client does not accept the session's own certificate authority.
    CertificateRejected,
    /// Failed: the host does not agree on TLS, or its certificate is not trusted.
    TlsFailed,
    /// Failed: the name does not exist.
    NameNotFound,
    /// Failed: looking up the name.
    ResolveFailed,
    /// Failed: no address of the host takes connections.
    Unreachable,
    /// Failed: the host did not answer in time.
    TimedOut,
}

impl Rule {
    /// Whether the host was allowed but could not be reached.
    pub(crate) fn is_failure(self) -> bool {
        matches!(
            self,
            Self::CertificateRejected
                | Self::TlsFailed
                | Self::NameNotFound
                | Self::ResolveFailed
                | Self::Unreachable
                | Self::TimedOut
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names on the wire are those of the serialisation.
        self.serialize(f)
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the client may go on.
    pub allowed: bool,
    /// What decided.
    pub rule: Rule,
    /// The host that the client wanted.
    pub host: String,
    /// A sentence that names the host.
    pub text: String,
}

impl Decision {
    /// A refusal. `why` goes on after "blocked host example.com: ".
    pub fn refuse(rule: Rule, host: &impl fmt::Display, why: &str) -> Self {
        Self { allowed: false, rule, host: host.to_string(), text: format!("blocked host {host}: {why}") }
    }

    /// A failure to reach a host that is allowed.
    pub(crate) fn fail(rule: Rule, host: &impl fmt::Display, text: &str) -> Self {
        Self { allowed: false, rule, host: host.to_string(), text: text.to_owned() }
    }

    fn allow(rule: Rule, host: &impl fmt::Display) -> Self {
        Self { allowed: true, rule, host: host.to_string(), text: format!("host {host} is allowed: {rule}") }
    }
}

/// Whether a session may connect to a target. For a name its addresses are yet to be checked; a literal address of an
/// unrestricted session is not checked here either but by [`crate::address::check_address`].
pub fn decide(policy: &Policy, target: &Target) -> Decision {
    let name = match &target.host {
        Host::Name(name) => name,
        Host::Address(address) => return decide_literal(policy, *address),
    };
    // A route is the operator's word for where a name leads.
    if means_this_machine(name) && !policy.routes.iter().any(|route| route.host.matches(name)) {
        let why = "the name stands for this machine or for what tells its secrets";
        return Decision::refuse(Rule::AddressRefused, name, why);
    }
    if policy.is_blocked(name) {
        return Decision::refuse(Rule::BlockedHost, name, "the operator of this server blocks it");
    }
    let Access::Limited { hosts } = &policy.access else {
        return Decision::allow(Rule::Unrestricted, name);
    };
    let Some(rule) = hosts.iter().find(|rule| rule.pattern.matches(name)) else {
        let why = "it is not among the hosts that this environment's networking allows";
        return Decision::refuse(Rule::HostNotAllowed, name, why);
    };
    let leads_elsewhere =
        |route: &crate::policy::Route| route.port == Some(target.port) && route.host.matches(name);
    if !LIMITED_PORTS.contains(&target.port) && !policy.routes.iter().any(leads_elsewhere) {
        let why = format!("port {} is not allowed, only 80 and 443 are", target.port);
        return Decision::refuse(Rule::PortNotAllowed, name, &why);
    }
    let rule = match rule.reason {
        Reason::AllowedHosts => Rule::AllowedHosts,
        Reason::PackageManagers => Rule::PackageManagers,
        Reason::McpServers => Rule::McpServers,
        Reason::Operator => Rule::Operator,
    };
    Decision::allow(rule, name)
}

/// Names that lead to this machine, or to the services that clouds keep for their machines alone. Their addresses are
/// refused anyway; this says so before anybody is asked, and where the names do not exist.
fn means_this_machine(name: &Hostname) -> bool {
    const NAMES: [&str; 5] = [
        "localhost",
        "localhost.localdomain",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data.ec2.internal",
    ];
    let name = name.as_str();
    NAMES.contains(&name) || name.ends_with(".localhost")
}

fn decide_literal(policy: &Policy, address: IpAddr) -> Decision {
    match policy.access {
        Access::Unrestricted => Decision::allow(Rule::Unrestricted, &address),
        Access::Limited { .. } => {
            let why = "hosts can be reached by name only, because this environment's networking is limited";
            Decision::refuse(Rule::AddressLiteral, &address, why)
        }
    }
}

/// The refusal of a host one of whose addresses must not be reached.
pub fn refuse_address(host: &Host, refusal: &Refusal) -> Decision {
    Decision::refuse(Rule::AddressRefused, host, &refusal.to_string())
}

/// Whether a session may make a request over plain HTTP to a host that it may connect to.
pub fn decide_request(policy: &Policy, name: &Hostname, method: &str, target: &str) -> Decision {
    let mut rules = policy.requests.iter().filter(|rule| rule.host.matches(name)).peekable();
    if rules.peek().is_none() {
        return Decision::allow(Rule::Unrestricted, name);
    }
    let path = target.split(['?', '#']).next().unwrap_or(target);
    if rules.any(|rule| permits(rule, method, path)) {
        return Decision::allow(Rule::Operator, name);
    }
    let shown: String = path.chars().take(200).collect();
    let why = format!("the operator's rules do not permit {method} {shown}");
    Decision::refuse(Rule::RequestNotAllowed, name, &why)
}

fn permits(rule: &RequestRule, method: &str, path: &str) -> bool {
    let method_fits = rule.methods.is_empty() || rule.methods.iter().any(|own| own == method);
    let path_fits = rule.paths.is_empty()
        || (is_plain_path(path) && rule.paths.iter().any(|pattern| matches_path(pattern, path)));
    method_fits && path_fits
}

fn matches_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(above) => path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')),
        None => path == pattern,
    }
}

/// Whether servers cannot disagree about what a path means: no dots that climb, no slash in disguise.
fn is_plain_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let is_disguised = ["%2e", "%2f", "%5c", "%00", "\\", "//", ";", "%25", "%3b"];
    path.starts_with('/')
        && !is_disguised.iter().any(|part| lower.contains(part))
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}
