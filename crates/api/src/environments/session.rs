//! A session's copy of its environment: a later change of the environment does not reach it.

use serde::Deserialize;
use serde::Serialize;

use crate::environments::Config;
use crate::environments::Environment;
use crate::environments::Networking;
use crate::environments::Packages;
use crate::environments::SandboxSettings;
use crate::environments::host_of;
use crate::mcp::McpServer;

/// An environment as it was when a session was made in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnvironment {
    /// See [`Environment::config`].
    pub config: Config,
    /// See [`SandboxSettings`].
    #[serde(default)]
    pub sandbox: SandboxSettings,
    /// The hosts of the agent's MCP servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_hosts: Vec<String>,
}

impl SessionEnvironment {
    /// The copy for a new session, whose agent declares these MCP servers.
    pub fn of(environment: &Environment, sandbox: SandboxSettings, servers: &[McpServer]) -> Self {
        let mcp_hosts = servers.iter().filter_map(|server| host_of(&server.url)).map(str::to_owned).collect();
        Self { config: environment.config.clone(), sandbox, mcp_hosts }
    }

    /// The packages, unless somebody else runs the sandboxes.
    pub fn packages(&self) -> Option<&Packages> {
        match &self.config {
            Config::Cloud { networking: _, packages } => Some(packages),
            Config::SelfHosted => None,
        }
    }

    /// Something has to be installed before its sandboxes can be made.
    pub fn installs(&self) -> bool {
        self.packages().is_some_and(|packages| !packages.is_empty() || self.sandbox.setup.is_some())
    }
}

impl Default for SessionEnvironment {
    fn default() -> Self {
        let config = Config::Cloud { networking: Networking::Unrestricted, packages: Packages::default() };
        Self { config, sandbox: SandboxSettings::default(), mcp_hosts: Vec::new() }
    }
}
