//! The typed settings. What each key means, and its default, stands in `default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    pub(crate) root_fs: Option<PathBuf>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) processes_max: u32,
    pub(crate) cpu_millis_max: u32,
    pub(crate) disk_bytes_max: u64,
    pub(crate) disk_files_max: u64,
    pub(crate) alive_max: usize,
    pub(crate) idle_minutes_max: u32,
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
