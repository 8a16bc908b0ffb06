//! The typed settings. What each key means, and its default, stands in `default.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use egress::policy::HostPattern;
use egress::policy::RequestRule;
use egress::policy::Route;
use sandbox::spawner::Choice as Disk;
use serde::Deserialize;

/// Every setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where the API listens and where its data is.
    pub(crate) server: Server,
    /// The store.
    pub(crate) database: Database,
    /// The log.
    pub(crate) log: Log,
    /// Providers, routes and prices of models.
    pub(crate) models: model::Config,
    /// Sandboxes.
    pub(crate) sandbox: Sandbox,
    /// What sandboxes may reach.
    pub(crate) network: Network,
    /// Where checkpoints are kept.
    pub(crate) blobs: Blobs,
    /// Root file systems for sandboxes.
    pub(crate) images: Images,
    /// Bounds of the API.
    pub(crate) limits: Limits,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) url: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: String,
}

/// `[sandbox]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sandbox {
    pub(crate) backend: BackendKind,
    pub(crate) docker: Docker,
    pub(crate) image: Option<String>,
    pub(crate) root_fs: Option<PathBuf>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) processes_max: u32,
    pub(crate) cpu_millis_max: u32,
    pub(crate) disk_bytes_max: u64,
    pub(crate) disk_files_max: u64,
    pub(crate) disk: Disk,
    pub(crate) classes: BTreeMap<String, Class>,
    pub(crate) alive_max: usize,
    pub(crate) freeze_seconds: u32,
    pub(crate) idle_minutes_max: u32,
    pub(crate) files_hours_max: u32,
    pub(crate) days_max: u32,
}

/// Where sandboxes are made.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackendKind {
    Embedded,
    Docker,
}

/// `[sandbox.docker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Docker {
    pub(crate) socket: PathBuf,
    pub(crate) image: Option<String>,
    pub(crate) runtime: Option<String>,
}

/// `[sandbox.classes.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "a bound is named as a bound everywhere")]
pub(crate) struct Class {
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) processes_max: Option<u32>,
    pub(crate) cpu_millis_max: Option<u32>,
    pub(crate) disk_bytes_max: Option<u64>,
    pub(crate) disk_files_max: Option<u64>,
}

/// `[network]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) enabled: bool,
    pub(crate) package_hosts: Vec<HostPattern>,
    pub(crate) blocked_hosts: Vec<HostPattern>,
    pub(crate) refused_networks: Vec<egress::policy::Network>,
    pub(crate) permitted_networks: Vec<egress::policy::Network>,
    pub(crate) routes: Vec<Route>,
    pub(crate) requests: Vec<RequestRule>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) connections_max: Option<u32>,
}

/// `[blobs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blobs {
    pub(crate) url: Option<String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// `[images]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Images {
    pub(crate) registry: Option<String>,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) body_bytes_max: usize,
    pub(crate) streams_max: usize,
    pub(crate) heartbeat_ms: u64,
}
