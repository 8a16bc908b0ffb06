//! What a session may reach: plain data, made by the server and passed on by the spawner.

mod host;
mod network;

use std::net::SocketAddr;

use serde::Deserialize;
use serde::Serialize;

pub use self::host::Host;
pub use self::host::HostError;
pub use self::host::HostPattern;
pub use self::host::Hostname;
pub use self::network::Network;
pub use self::network::NetworkError;
use crate::limits;

/// What one session may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The environment's `networking`.
    pub access: Access,
    /// Operator's rules on requests over plain HTTP. A host with rules is reachable by plain HTTP only, and only with a
    /// request that matches one. Rules narrow what `access` permits; they never add a host.
    #[serde(default)]
    pub requests: Vec<RequestRule>,
    /// Names that are refused whatever else says otherwise.
    #[serde(default)]
    pub blocked_hosts: Vec<HostPattern>,
    /// Networks that are refused besides the built-in ones.
    #[serde(default)]
    pub refused_networks: Vec<Network>,
    /// Private networks that are permitted although the built-in list refuses them. Loopback, link-local and metadata
    /// addresses and those of this host stay refused.
    #[serde(default)]
    pub permitted_networks: Vec<Network>,
    /// Names that lead to a fixed address instead of what DNS says; exempt from the check of addresses.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Most bytes, both ways together, over the life of the session.
    #[serde(default)]
    pub bytes_max: Option<u64>,
    /// Most connections at once.
    pub connections_max: u32,
}

/// The environment's kind of networking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Access {
    /// Any public address, all ports.
    Unrestricted,
    /// Only these hosts, on the ports 80 and 443.
    Limited {
        /// What may be reached, and why.
        hosts: Vec<HostRule>,
    },
}

/// A host that may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRule {
    /// Which names.
    pub pattern: HostPattern,
    /// Where the rule comes from.
    pub reason: Reason,
}

/// Where a host rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `allowed_hosts` of the environment.
    AllowedHosts,
    /// `allow_package_managers` of the environment.
    PackageManagers,
    /// `allow_mcp_servers` of the environment.
    McpServers,
    /// The operator's configuration.
    Operator,
}

/// Requests that a host takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRule {
    /// The hosts that the rule is about.
    pub host: HostPattern,
    /// Methods, in capitals; none means any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths; one that ends in `/*` stands for everything below it. None means any.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// A name that leads to a fixed address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The names.
    pub host: HostPattern,
    /// The one port that is led elsewhere; all ports when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where connections go.
    pub to: SocketAddr,
}

impl Policy {
    /// Any public address, and the usual bounds.
    pub fn unrestricted() -> Self {
        Self::new(Access::Unrestricted)
    }

    /// Only these hosts, and the usual bounds.
    pub fn limited(hosts: Vec<HostRule>) -> Self {
        Self::new(Access::Limited { hosts })
    }

    fn new(access: Access) -> Self {
        Self {
            access,
            requests: Vec::new(),
            blocked_hosts: Vec::new(),
            refused_networks: Vec::new(),
            permitted_networks: Vec::new(),
            routes: Vec::new(),
            bytes_max: None,
            connections_max: limits::CONNECTIONS_MAX,
        }
    }

    /// Whether only named hosts may be reached.
    pub fn is_limited(&self) -> bool {
        matches!(self.access, Access::Limited { .. })
    }

    /// Whether requests to a host are restricted one by one.
    pub fn has_request_rules(&self, name: &Hostname) -> bool {
        self.requests.iter().any(|rule| rule.host.matches(name))
    }

    /// Whether the operator has blocked a name.
    pub fn is_blocked(&self, name: &Hostname) -> bool {
        self.blocked_hosts.iter().any(|pattern| pattern.matches(name))
    }

    /// The fixed address that a name leads to on a port.
    pub fn route(&self, name: &Hostname, port: u16) -> Option<SocketAddr> {
        let applies = |route: &&Route| route.host.matches(name) && route.port.is_none_or(|own| own == port);
        self.routes.iter().find(applies).map(|route| route.to)
    }

    /// Whether a name leads to a fixed address on any port.
    pub fn is_routed(&self, name: &Hostname) -> bool {
        self.routes.iter().any(|route| route.host.matches(name))
    }
}
