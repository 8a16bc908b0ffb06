//! Environments: where the tools of a session run. Not versioned; a change holds for sandboxes made afterwards.

mod hosts;
mod packages;
mod parse;
mod session;
mod settings;

use serde::Deserialize;
use serde::Serialize;

use crate::body;
use crate::body::Metadata;
use crate::body::MetadataPatch;
use crate::errors::Error;
use crate::ids::EnvironmentId;
use crate::patch::Patch;
use crate::render::json;
use crate::time::Timestamp;
use crate::unbuilt;
pub use hosts::check_mcp_servers;
pub use hosts::host_of;
pub use hosts::is_within;
pub use packages::Manager;
pub use session::SessionEnvironment;
pub use settings::SandboxSettings;
pub use settings::SandboxUpdate;

/// An environment, as stored and answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "environment")]
pub struct Environment {
    /// Which environment.
    pub id: EnvironmentId,
    /// For people.
    pub name: String,
    /// For people; unlike an agent's it may be the empty string.
    pub description: Option<String>,
    /// The kind of its sandboxes.
    pub config: Config,
    /// The client's own notes.
    pub metadata: Metadata,
    /// Visibility.
    pub scope: Scope,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Time of archiving.
    pub archived_at: Option<Timestamp>,
}

/// A kind of sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Config {
    /// We run it.
    Cloud {
        /// Its access to the network.
        networking: Networking,
        /// The packages installed in it.
        packages: Packages,
    },
    /// A worker of the client runs it.
    SelfHosted,
}

/// Access of a sandbox to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Everything public.
    Unrestricted,
    /// Only the hosts listed.
    Limited {
        /// Beside the hosts, the agent's MCP servers.
        allow_mcp_servers: bool,
        /// Beside the hosts, where packages come from.
        allow_package_managers: bool,
        /// Names, or `*.` and a domain.
        allowed_hosts: Vec<String>,
    },
}

/// Packages of a sandbox, package manager by package manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "packages")]
pub struct Packages {
    /// `apt`
    pub apt: Vec<String>,
    /// `cargo`
    pub cargo: Vec<String>,
    /// `gem`
    pub gem: Vec<String>,
    /// `go`
    pub go: Vec<String>,
    /// `npm`
    pub npm: Vec<String>,
    /// `pip`
    pub pip: Vec<String>,
}

/// Visibility of an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everybody in the workspace.
    #[default]
    Organization,
}

/// A request to create an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentCreate {
    /// See [`Environment::name`].
    pub name: String,
    /// See [`Environment::description`].
    pub description: Option<String>,
    /// See [`Environment::config`].
    pub config: ConfigParams,
    /// See [`Environment::metadata`].
    pub metadata: Metadata,
}

/// A request to update an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentUpdate {
    /// See [`Environment::name`].
    pub name: Option<String>,
    /// See [`Environment::description`].
    pub description: Patch<String>,
    /// See [`Environment::config`].
    pub config: Option<ConfigParams>,
    /// See [`Environment::metadata`].
    pub metadata: MetadataPatch,
}

/// A sandbox as a request describes it: what is left out is kept, or takes its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigParams {
    /// See [`Config::Cloud`].
    Cloud {
        /// See [`Networking`].
        networking: Option<NetworkingParams>,
        /// See [`Packages`].
        packages: PackagesParams,
    },
    /// See [`Config::SelfHosted`].
    SelfHosted,
}

/// Access to the network, as a request says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkingParams {
    /// See [`Networking::Unrestricted`].
    Unrestricted,
    /// See [`Networking::Limited`].
    Limited {
        /// See [`Networking::Limited`].
        allow_mcp_servers: Option<bool>,
        /// See [`Networking::Limited`].
        allow_package_managers: Option<bool>,
        /// See [`Networking::Limited`].
        allowed_hosts: Option<Vec<String>>,
    },
}

/// Packages as a request lists them, in the order of [`PACKAGE_MANAGERS`].
pub type PackagesParams = [Option<Vec<String>>; 6];

/// Names of the package managers, in the order in which they install.
pub const PACKAGE_MANAGERS: [&str; 6] = ["apt", "cargo", "gem", "go", "npm", "pip"];

impl Environment {
    /// A new environment.
    pub fn create(create: EnvironmentCreate, id: EnvironmentId, now: Timestamp) -> Result<Self, Error> {
        let EnvironmentCreate { name, description, config, metadata } = create;
        Ok(Self {
            id,
            name,
            description,
            config: config.resolve()?,
            metadata,
            scope: Scope::Organization,
            created_at: now,
            updated_at: now,
            archived_at: None,
        })
    }

    /// The environment after an update; `None` when it changes nothing.
    pub fn update(&self, update: EnvironmentUpdate, now: Timestamp) -> Result<Option<Self>, Error> {
        self.check_changeable()?;
        let EnvironmentUpdate { name, description, config, metadata } = update;
        let stored = self.clone();
        let config = match config {
            Some(params) => {
                let config = params.clone().merge(stored.config)?;
                unbuilt::refuse_config(&params)?;
                config
            }
            None => stored.config,
        };
        let next = Self {
            name: name.unwrap_or(stored.name),
            description: description.over(stored.description),
            config,
            metadata: body::merge_metadata(&stored.metadata, &metadata)?,
            ..stored
        };
        Ok(if next == *self { None } else { Some(Self { updated_at: now, ..next }) })
    }

    /// Refuses a change of an environment that is archived.
    pub fn check_changeable(&self) -> Result<(), Error> {
        if self.archived_at.is_none() {
            return Ok(());
        }
        let message = format!("Environment {} is archived and cannot be updated", self.id);
        Err(Error::invalid(message).with_code("environment_archived"))
    }

    /// The environment archived; `None` when it already is.
    pub fn archive(&self, now: Timestamp) -> Option<Self> {
        match self.archived_at {
            Some(_) => None,
            None => Some(Self { archived_at: Some(now), updated_at: now, ..self.clone() }),
        }
    }

    /// The environment as stored and answered.
    pub fn render(&self) -> String {
        json(self)
    }
}

impl ConfigParams {
    /// The sandbox of a new environment.
    fn resolve(self) -> Result<Config, Error> {
        let empty = match self {
            Self::Cloud { .. } => {
                Config::Cloud { networking: Networking::Unrestricted, packages: Packages::default() }
            }
            Self::SelfHosted => Config::SelfHosted,
        };
        self.merge(empty)
    }

    /// The sandbox of an environment that had `stored` before.
    fn merge(self, stored: Config) -> Result<Config, Error> {
        match (self, stored) {
            (Self::SelfHosted, Config::SelfHosted) => Ok(Config::SelfHosted),
            (
                Self::Cloud { networking, packages },
                Config::Cloud { networking: old, packages: installed },
            ) => {
                let networking = match networking {
                    Some(networking) => networking.merge(old),
                    None => old,
                };
                let packages = merge_packages(packages, installed);
                packages::check_access(&networking, &packages)?;
                Ok(Config::Cloud { networking, packages })
            }
            (Self::SelfHosted, Config::Cloud { .. }) | (Self::Cloud { .. }, Config::SelfHosted) => {
                let message = "config.type: The type of an environment cannot be changed";
                Err(Error::invalid(message).with_code("invalid_config_type_change"))
            }
        }
    }
}

impl NetworkingParams {
    fn merge(self, stored: Networking) -> Networking {
        let Self::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } = self else {
            return Networking::Unrestricted;
        };
        let (mcp, managers, hosts) = match stored {
            Networking::Unrestricted => (false, false, Vec::new()),
            Networking::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } => {
                (allow_mcp_servers, allow_package_managers, allowed_hosts)
            }
        };
        Networking::Limited {
            allow_mcp_servers: allow_mcp_servers.unwrap_or(mcp),
            allow_package_managers: allow_package_managers.unwrap_or(managers),
            allowed_hosts: allowed_hosts.unwrap_or(hosts),
        }
    }
}

fn merge_packages(params: PackagesParams, stored: Packages) -> Packages {
    let Packages { apt, cargo, gem, go, npm, pip } = stored;
    let [new_apt, new_cargo, new_gem, new_go, new_npm, new_pip] = params;
    Packages {
        apt: new_apt.unwrap_or(apt),
        cargo: new_cargo.unwrap_or(cargo),
        gem: new_gem.unwrap_or(gem),
        go: new_go.unwrap_or(go),
        npm: new_npm.unwrap_or(npm),
        pip: new_pip.unwrap_or(pip),
    }
}
