//! What the sandboxes of an environment may reach: the environment's networking and the operator's rules, made into the
//! policy that the proxy enforces. Pure; the same function makes what sandboxes get and what clients are shown.

use api::environments::Config;
use api::environments::Networking;
use api::environments::SessionEnvironment;
use egress::Policy;
use egress::policy::HostPattern;
use egress::policy::HostRule;
use egress::policy::Network;
use egress::policy::Reason;
use egress::policy::RequestRule;
use egress::policy::Route;

/// The operator's rules, which hold for every environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// No sandbox has a network at all.
    pub is_off: bool,
    /// Hosts that count as those of package managers, besides the ones that the managers themselves are configured for.
    pub package_hosts: Vec<HostPattern>,
    /// See [`Policy::blocked_hosts`].
    pub blocked_hosts: Vec<HostPattern>,
    /// See [`Policy::refused_networks`].
    pub refused_networks: Vec<Network>,
    /// See [`Policy::permitted_networks`].
    pub permitted_networks: Vec<Network>,
    /// See [`Policy::routes`].
    pub routes: Vec<Route>,
    /// See [`Policy::requests`].
    pub requests: Vec<RequestRule>,
    /// See [`Policy::bytes_max`].
    pub bytes_max: Option<u64>,
    /// See [`Policy::connections_max`]; the proxy's own bound without one.
    pub connections_max: Option<u32>,
}

/// Whether the hosts of package managers matter to an environment.
pub(crate) fn needs_package_hosts(environment: &SessionEnvironment) -> bool {
    match &environment.config {
        Config::Cloud { networking: Networking::Limited { allow_package_managers, .. }, packages: _ } => {
            *allow_package_managers
        }
        Config::Cloud { networking: Networking::Unrestricted, packages: _ } | Config::SelfHosted => false,
    }
}

/// What the sandboxes of an environment may reach; `None` when they have no network. `package_hosts` are those that the
/// package managers of their file system are configured for.
pub(crate) fn policy(
    environment: &SessionEnvironment,
    operator: &Operator,
    package_hosts: &[HostPattern],
) -> Option<Policy> {
    let networking = networking(environment).filter(|_| !operator.is_off)?;
    let policy = match networking {
        Networking::Unrestricted => Policy::unrestricted(),
        Networking::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } => {
            let mut rules = Rules::default();
            rules.read(allowed_hosts, Reason::AllowedHosts);
            if *allow_package_managers {
                rules.add_packages(package_hosts, operator);
            }
            if *allow_mcp_servers {
                rules.read(&environment.mcp_hosts, Reason::McpServers);
            }
            Policy::limited(rules.0)
        }
    };
    Some(under(operator, policy))
}

/// What a build of an environment's packages may reach: where packages come from, or anything if its sandboxes may.
pub(crate) fn build_policy(
    environment: &SessionEnvironment,
    operator: &Operator,
    package_hosts: &[HostPattern],
) -> Option<Policy> {
    let networking = networking(environment).filter(|_| !operator.is_off)?;
    let policy = match networking {
        Networking::Unrestricted => Policy::unrestricted(),
        Networking::Limited { allow_package_managers, .. } => {
            let mut rules = Rules::default();
            if *allow_package_managers {
                rules.add_packages(package_hosts, operator);
            }
            Policy::limited(rules.0)
        }
    };
    Some(under(operator, policy))
}

fn networking(environment: &SessionEnvironment) -> Option<&Networking> {
    match &environment.config {
        Config::Cloud { networking, packages: _ } => Some(networking),
        Config::SelfHosted => None,
    }
}

/// The policy under the operator's rules.
fn under(operator: &Operator, policy: Policy) -> Policy {
    let Operator {
        is_off: _,
        package_hosts: _,
        blocked_hosts,
        refused_networks,
        permitted_networks,
        routes,
        requests,
        bytes_max,
        connections_max,
    } = operator.clone();
    let connections_max = connections_max.unwrap_or(policy.connections_max);
    Policy {
        access: policy.access,
        requests,
        blocked_hosts,
        refused_networks,
        permitted_networks,
        routes,
        bytes_max,
        connections_max,
    }
}

/// Host rules, each pattern once.
#[derive(Default)]
struct Rules(Vec<HostRule>);

impl Rules {
    fn add(&mut self, patterns: &[HostPattern], reason: Reason) {
        for pattern in patterns {
            if !self.0.iter().any(|rule| rule.pattern == *pattern) {
                self.0.push(HostRule { pattern: pattern.clone(), reason });
            }
        }
    }

    /// Where packages come from: what the managers are configured for, and what the operator lists.
    fn add_packages(&mut self, hosts: &[HostPattern], operator: &Operator) {
        self.add(hosts, Reason::PackageManagers);
        self.add(&operator.package_hosts, Reason::Operator);
    }

    /// A name that cannot be one is left out: nobody could reach it either.
    fn read(&mut self, hosts: &[String], reason: Reason) {
        for host in hosts {
            if let Ok(pattern) = HostPattern::parse(host) {
                self.add(&[pattern], reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::environments::Packages;
    use api::environments::SandboxSettings;
    use egress::policy::Access;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    fn limited(mcp: bool, managers: bool, hosts: &[&str]) -> SessionEnvironment {
        let networking = Networking::Limited {
            allow_mcp_servers: mcp,
            allow_package_managers: managers,
            allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        SessionEnvironment {
            config: Config::Cloud { networking, packages: Packages::default() },
            sandbox: SandboxSettings::default(),
            mcp_hosts: vec!["tools.example".to_owned()],
        }
    }

    fn rules(policy: Option<Policy>) -> Vec<(String, Reason)> {
        let Access::Limited { hosts } = policy.unwrap().access else { panic!("it is unrestricted") };
        hosts.into_iter().map(|rule| (rule.pattern.to_string(), rule.reason)).collect()
    }

    #[test]
    fn every_rule_says_where_it_comes_from() {
        let operator = Operator { package_hosts: vec![pattern("mirror.example")], ..Operator::default() };
        let managers = [pattern("index.example"), pattern("a.example")];
        let all = limited(true, true, &["A.example", "*.b.example"]);
        let expected = [
            ("a.example", Reason::AllowedHosts),
            ("*.b.example", Reason::AllowedHosts),
            ("index.example", Reason::PackageManagers),
            ("mirror.example", Reason::Operator),
            ("tools.example", Reason::McpServers),
        ];
        assert_eq!(
            rules(policy(&all, &operator, &managers)),
            expected.map(|(host, reason)| (host.to_owned(), reason))
        );
        assert_eq!(rules(policy(&limited(false, false, &[]), &operator, &managers)), []);
        let built = rules(build_policy(&all, &operator, &managers));
        let built: Vec<&str> = built.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(built, ["index.example", "a.example", "mirror.example"]);
    }

    #[test]
    fn the_operators_rules_hold_for_everybody() {
        let operator = Operator {
            blocked_hosts: vec![pattern("*.bad.example")],
            refused_networks: vec!["8.8.8.0/24".parse().unwrap()],
            permitted_networks: vec!["10.1.0.0/16".parse().unwrap()],
            routes: vec![Route {
                host: pattern("mirror.example"),
                port: Some(443),
                to: "127.0.0.1:1".parse().unwrap(),
            }],
            requests: vec![RequestRule {
                host: pattern("api.example"),
                methods: vec!["GET".into()],
                paths: vec![],
            }],
            bytes_max: Some(7),
            connections_max: Some(3),
            ..Operator::default()
        };
        let expected = Policy {
            requests: operator.requests.clone(),
            blocked_hosts: operator.blocked_hosts.clone(),
            refused_networks: operator.refused_networks.clone(),
            permitted_networks: operator.permitted_networks.clone(),
            routes: operator.routes.clone(),
            bytes_max: Some(7),
            connections_max: 3,
            ..Policy::unrestricted()
        };
        assert_eq!(policy(&SessionEnvironment::default(), &operator, &[]), Some(expected.clone()));
        assert_eq!(build_policy(&SessionEnvironment::default(), &operator, &[]), Some(expected));
    }

    #[test]
    fn an_operator_without_a_network_gives_nobody_one() {
        let off = Operator { is_off: true, ..Operator::default() };
        assert_eq!(policy(&SessionEnvironment::default(), &off, &[]), None);
        assert_eq!(policy(&limited(true, true, &["a.example"]), &off, &[]), None);
        assert_eq!(build_policy(&SessionEnvironment::default(), &off, &[]), None);
    }
}
