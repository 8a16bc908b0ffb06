//! The operator's rules on the network. They hold for every environment, and for the requests that this server itself
//! sends to addresses of users.

use serde::Deserialize;
use serde::Serialize;

use crate::limits;
use crate::policy::Access;
use crate::policy::Host;
use crate::policy::HostPattern;
use crate::policy::Network;
use crate::policy::Policy;
use crate::policy::RequestRule;
use crate::policy::Route;

/// The operator's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorRules {
    /// Sandboxes may have a network at all.
    pub enabled: bool,
    /// Hosts that count as those of package managers, besides the ones that the managers themselves are configured for.
    pub package_hosts: Vec<HostPattern>,
    /// Names that are refused, whatever permits them.
    pub blocked_hosts: Vec<HostPattern>,
    /// Networks that are refused besides the built-in ones.
    pub refused_networks: Vec<Network>,
    /// Private networks that are permitted although the built-in list refuses them. Loopback, link-local and metadata
    /// addresses and those of this host stay refused.
    pub permitted_networks: Vec<Network>,
    /// Names that lead to a fixed address instead of what DNS says; exempt from the check of addresses.
    pub routes: Vec<Route>,
    /// Requests over plain HTTP that sandboxes may make. A host with rules is reachable by plain HTTP only, and only with
    /// a request that matches one. Rules narrow what an environment permits; they never add a host.
    pub requests: Vec<RequestRule>,
    /// Names to which this server itself may send requests without TLS. Addresses in `permitted_networks` may be
    /// reached without TLS, too.
    pub plain_http_hosts: Vec<HostPattern>,
    /// Most bytes, both ways together, over the life of a session.
    pub bytes_max: Option<u64>,
    /// Most connections of a session at once; [`limits::CONNECTIONS_MAX`] when absent.
    pub connections_max: Option<u32>,
}

impl Default for OperatorRules {
    fn default() -> Self {
        Self {
            enabled: true,
            package_hosts: Vec::new(),
            blocked_hosts: Vec::new(),
            refused_networks: Vec::new(),
            permitted_networks: Vec::new(),
            routes: Vec::new(),
            requests: Vec::new(),
            plain_http_hosts: Vec::new(),
            bytes_max: None,
            connections_max: None,
        }
    }
}

impl OperatorRules {
    /// The policy of a session with this access, under these rules.
    pub fn policy(&self, access: Access) -> Policy {
        let Self {
            enabled: _,
            package_hosts: _,
            blocked_hosts,
            refused_networks,
            permitted_networks,
            routes,
            requests,
            plain_http_hosts: _,
            bytes_max,
            connections_max,
        } = self.clone();
        let connections_max = connections_max.unwrap_or(limits::CONNECTIONS_MAX);
        Policy {
            access,
            requests,
            blocked_hosts,
            refused_networks,
            permitted_networks,
            routes,
            bytes_max,
            connections_max,
        }
    }

    /// Whether this server may send a request to a host without TLS.
    pub fn permits_plain_http(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.plain_http_hosts.iter().any(|pattern| pattern.matches(name)),
            Host::Address(address) => {
                self.permitted_networks.iter().any(|network| network.contains(*address))
            }
        }
    }
}
