//! What a container is made of.

use std::collections::HashMap;
use std::path::Path;

use api::ids::SessionId;
use bollard::models::ContainerCreateBody;
use bollard::models::ContainerUpdateBody;
use bollard::models::HostConfig;
use bollard::models::HostConfigCgroupnsModeEnum;
use bollard::models::HostConfigLogConfig;
use bollard::models::Mount;
use bollard::models::MountType;
use hand::confine::MASKED_FILES;
use hand::confine::MASKED_FOLDERS;
use hand::contain;

use super::Config;
use super::files::Files;
use crate::Limits;
use crate::Spec;

/// Label: the data folder of the server that a container belongs to.
pub(super) const DATA: &str = "journeyman.data";
/// Label: its session.
pub(super) const SESSION: &str = "journeyman.session";

/// Part of the memory that the file system in memory may take.
const SHARED_MEMORY_DIVISOR: u64 = 8;

/// What the hand keeps for its tools; `NET_ADMIN` for the route and the listeners of its network, which a session may have in
/// one life and not in another; and `SETPCAP`, without which it could not drop the rest. It does so before the first call.
const CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "NET_ADMIN",
    "SETPCAP",
];

/// Files that only root can read, which root in a container may be.
const MASKED_FOR_ROOT: [&str; 4] =
    ["/proc/interrupts", "/proc/slabinfo", "/proc/timer_stats", "/proc/vmallocinfo"];

/// The name of a session's container.
pub(super) fn name(session: &SessionId) -> String {
    format!("journeyman-{session}")
}

/// What the containers of a server are made of.
pub(super) struct Parts<'a> {
    pub(super) image: String,
    pub(super) config: &'a Config,
    pub(super) files: &'a Files,
    /// Whether the engine bounds what the files of one container take.
    pub(super) bounds_disk: bool,
}

/// A session's container, as the engine is told to make it.
pub(super) fn body(parts: &Parts<'_>, spec: &Spec) -> ContainerCreateBody {
    let data = parts.config.data_dir.display().to_string();
    let labels = [(DATA, data), (SESSION, spec.session.to_string())];
    ContainerCreateBody {
        hostname: Some("sandbox".to_owned()),
        user: Some("0:0".to_owned()),
        image: Some(parts.image.clone()),
        working_dir: Some("/".to_owned()),
        entrypoint: Some(vec![contain::PROGRAM.to_owned(), contain::ARGUMENT.to_owned()]),
        cmd: Some(Vec::new()),
        // The hand keeps what it must in its files as it goes; there is nothing to wait for.
        stop_signal: Some("SIGKILL".to_owned()),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        host_config: Some(host_config(parts, spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(parts: &Parts<'_>, spec: &Spec) -> HostConfig {
    let Parts { image: _, config, files, bounds_disk } = parts;
    let limits = &spec.limits;
    let mounts = [
        (files.hand(), contain::PROGRAM),
        (files.door(&spec.session), contain::FOLDER),
        (files.uploads(&spec.session), "/mnt/session/uploads"),
    ];
    let size = || HashMap::from([("size".to_owned(), limits.disk_bytes_max.to_string())]);
    HostConfig {
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        init: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        memory: Some(number(limits.memory_bytes_max)),
        memory_swap: Some(number(limits.memory_bytes_max)),
        nano_cpus: Some(nano_cpus(limits)),
        pids_limit: Some(limits.processes_max.into()),
        shm_size: Some(number(limits.memory_bytes_max / SHARED_MEMORY_DIVISOR)),
        storage_opt: bounds_disk.then(size),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        mounts: Some(mounts.map(|(source, target)| shown(&source, target)).into()),
        masked_paths: Some(masked()),
        runtime: config.runtime.clone(),
        ..HostConfig::default()
    }
}

/// What tells about the host: as everywhere, and more than engines hide by themselves.
fn masked() -> Vec<String> {
    let everywhere =
        MASKED_FILES.iter().chain(&MASKED_FOLDERS).map(|path| path.to_string_lossy().into_owned());
    everywhere.chain(MASKED_FOR_ROOT.map(str::to_owned)).collect()
}

/// The bounds that can change while the container is kept.
pub(super) fn bounds(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        memory: Some(number(limits.memory_bytes_max)),
        memory_swap: Some(number(limits.memory_bytes_max)),
        nano_cpus: Some(nano_cpus(limits)),
        pids_limit: Some(limits.processes_max.into()),
        ..ContainerUpdateBody::default()
    }
}

/// A file or folder of the host, shown read-only.
fn shown(source: &Path, target: &str) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(source.display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Mount::default()
    }
}

fn nano_cpus(limits: &Limits) -> i64 {
    i64::from(limits.cpu_millis_max) * 1_000_000
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
