//! What the runtime tells the model of its sandbox, after the agent's own system prompt.

use api::environments::Config;
use api::environments::Networking;
use api::environments::Packages;
use api::environments::SessionEnvironment;
use serde::Deserialize;
use serde::Serialize;

/// Facts of the sandbox, fixed when the session is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    /// What can be reached from it.
    #[serde(default)]
    pub network: NetworkFacts,
    /// What is installed beside the usual programs: manager and package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<(String, Vec<String>)>,
}

/// What can be reached from a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkFacts {
    /// Nothing.
    #[default]
    None,
    /// These hosts and nothing else.
    Limited {
        /// Names, or `*.` and a domain.
        hosts: Vec<String>,
        /// Whether package managers reach the hosts that they are configured for.
        has_package_hosts: bool,
    },
    /// Every public host.
    Unrestricted,
}

const NOTE: &str = "You work in a Linux sandbox of your own. The working directory is /workspace. Files that the user \
    gave you are under /mnt/session/uploads (read-only). Put files that the user should get into \
    /mnt/session/outputs.";

impl RuntimeFacts {
    /// The facts of a session's environment. `is_offline`: the operator gives no sandbox a network.
    pub fn of(environment: &SessionEnvironment, is_offline: bool) -> Self {
        let network = match &environment.config {
            Config::SelfHosted => NetworkFacts::None,
            Config::Cloud { .. } if is_offline => NetworkFacts::None,
            Config::Cloud { networking: Networking::Unrestricted, .. } => NetworkFacts::Unrestricted,
            Config::Cloud {
                networking: Networking::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts },
                ..
            } => {
                let mcp_hosts = environment.mcp_hosts.iter().filter(|_| *allow_mcp_servers);
                let hosts = allowed_hosts.iter().chain(mcp_hosts).cloned().collect();
                NetworkFacts::Limited { hosts, has_package_hosts: *allow_package_managers }
            }
        };
        Self { network, packages: environment.packages().map_or_else(Vec::new, installed) }
    }

    /// The note to the model.
    pub(crate) fn note(&self) -> String {
        let network = match &self.network {
            NetworkFacts::None => "The sandbox has no network access.".to_owned(),
            NetworkFacts::Limited { hosts, has_package_hosts } => limited(hosts, *has_package_hosts),
            NetworkFacts::Unrestricted => "The sandbox can reach public hosts on the internet.".to_owned(),
        };
        let packages =
            self.packages.iter().map(|(manager, names)| format!("{}: {}", manager, names.join(", ")));
        let packages = packages.collect::<Vec<_>>().join("; ");
        let installed =
            if packages.is_empty() { String::new() } else { format!(" Installed packages: {packages}.") };
        format!("{NOTE} {network}{installed}")
    }
}

fn limited(hosts: &[String], has_package_hosts: bool) -> String {
    let named = if hosts.is_empty() { None } else { Some(hosts.join(", ")) };
    let packages = has_package_hosts.then(|| "the registries of package managers".to_owned());
    let reachable: Vec<String> = named.into_iter().chain(packages).collect();
    match reachable.as_slice() {
        [] => "The sandbox has no network access.".to_owned(),
        reachable => format!("The sandbox can reach only these hosts: {}.", reachable.join("; ")),
    }
}

fn installed(packages: &Packages) -> Vec<(String, Vec<String>)> {
    let Packages { apt, cargo, gem, go, npm, pip } = packages;
    let managers = [("apt", apt), ("cargo", cargo), ("gem", gem), ("go", go), ("npm", npm), ("pip", pip)];
    let managers = managers.into_iter().filter(|(_, names)| !names.is_empty());
    managers.map(|(manager, names)| (manager.to_owned(), names.clone())).collect()
}
