//! The container engine, asked over its socket.

mod images;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use api::time::Timestamp;
use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error as Refused;
use bollard::models::ContainerInspectResponse;
use bollard::models::SystemInfo;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use bollard::query_parameters::InspectContainerOptionsBuilder;
use bollard::query_parameters::KillContainerOptionsBuilder;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bollard::query_parameters::StartContainerOptions;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::OnceCell;

use super::Config;
use super::container;
use super::container::Parts;
use super::container::name;
use super::files::Files;
use super::set_up;
use crate::Error;
use crate::Limits;
use crate::Spec;
use crate::Usage;

/// How long the engine may take for one answer.
const ANSWER_SECONDS_MAX: u64 = 120;
/// How long a container may take to end.
const END_MAX: Duration = Duration::from_secs(20);
const END_PAUSE: Duration = Duration::from_millis(10);

/// The engine, and what is remembered of it.
#[derive(Debug)]
pub(super) struct Engine {
    config: Config,
    client: OnceCell<bollard::Docker>,
    bounds_disk: OnceCell<bool>,
    /// Who makes or removes images.
    images: tokio::sync::Mutex<()>,
}

/// What there is of a session's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// None.
    Absent,
    /// One that does not run, and since when no other has run.
    Still { since: Option<Timestamp> },
    /// One that runs: its first process as the engine sees it, and since when no other has run.
    Running { pid: i32, is_paused: bool, since: Option<Timestamp> },
}

impl Engine {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            client: OnceCell::new(),
            bounds_disk: OnceCell::new(),
            images: tokio::sync::Mutex::default(),
        }
    }

    /// What the engine says of itself.
    pub(super) async fn info(&self) -> Result<SystemInfo, Error> {
        self.client().await?.info().await.map_err(|error| self.unreachable(&error))
    }

    /// Whether the engine bounds what the files of one container take.
    pub(super) async fn bounds_disk(&self) -> Result<bool, Error> {
        self.bounds_disk.get_or_try_init(async || Ok(bounds_disk(&self.info().await?))).await.copied()
    }

    /// What there is of a session's container.
    pub(super) async fn find(&self, session: &SessionId) -> Result<Found, Error> {
        match self.client().await?.inspect_container(&name(session), None).await {
            Ok(inspected) => Ok(found(&inspected)),
            Err(error) if status(&error) == Some(404) => Ok(Found::Absent),
            Err(error) => Err(self.failed(session, &error)),
        }
    }

    /// Makes a session's container, which is not started. Fine when there is one already.
    pub(super) async fn create(&self, spec: &Spec, files: &Files) -> Result<(), Error> {
        let bounds_disk = self.bounds_disk().await?;
        let parts = Parts { image: self.image(&spec.root), config: &self.config, files, bounds_disk };
        let body = container::body(&parts, spec);
        let options = CreateContainerOptionsBuilder::new().name(&name(&spec.session)).build();
        match self.client().await?.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            // Another server was quicker.
            Err(error) if status(&error) == Some(409) => Ok(()),
            Err(error) => Err(self.failed(&spec.session, &error)),
        }
    }

    /// Gives a container that is kept the bounds of the session as they are now.
    pub(super) async fn bound(&self, session: &SessionId, limits: &Limits) -> Result<(), Error> {
        let changed = self.client().await?.update_container(&name(session), container::bounds(limits)).await;
        changed.map_err(|error| self.failed(session, &error))
    }

    /// Starts a container. Fine when it runs, and when another server is about to make or remove it: then it does not run.
    pub(super) async fn start(&self, session: &SessionId) -> Result<(), Error> {
        let started =
            self.client().await?.start_container(&name(session), None::<StartContainerOptions>).await;
        self.settle(session, started, &[304, 404, 409])
    }

    /// Ends all processes of a container and waits until they are gone. Fine when there are none.
    pub(super) async fn kill(&self, session: &SessionId) -> Result<(), Error> {
        self.signal(session, libc::SIGKILL).await?;
        self.until(session, |found| !matches!(found, Found::Running { .. })).await
    }

    /// Sends a signal to the first process of a container. Fine when there is none.
    pub(super) async fn signal(&self, session: &SessionId, signal: i32) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::new().signal(&signal.to_string()).build();
        let sent = self.client().await?.kill_container(&name(session), Some(options)).await;
        self.settle(session, sent, &[404, 409])
    }

    /// Removes a container with its files, and waits until it is gone. Fine when there is none.
    pub(super) async fn remove(&self, session: &SessionId) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.client().await?.remove_container(&name(session), Some(options)).await;
        // Conflict: it is being removed already.
        self.settle(session, removed, &[404, 409])?;
        self.until(session, |found| *found == Found::Absent).await
    }

    /// Stops the processes of a container. False when none runs.
    pub(super) async fn freeze(&self, session: &SessionId) -> Result<bool, Error> {
        let paused = self.client().await?.pause_container(&name(session)).await;
        self.settle(session, paused, &[404, 409, 500])?;
        Ok(matches!(self.find(session).await?, Found::Running { is_paused: true, .. }))
    }

    /// Lets the processes of a container go on. Fine when they do.
    pub(super) async fn thaw(&self, session: &SessionId) -> Result<(), Error> {
        let resumed = self.client().await?.unpause_container(&name(session)).await;
        self.settle(session, resumed, &[404, 409, 500])?;
        match self.find(session).await? {
            Found::Running { is_paused: true, .. } => Err(set_up(session, &"its container stays paused")),
            Found::Running { .. } | Found::Still { .. } | Found::Absent => Ok(()),
        }
    }

    /// The sessions that have containers here, or whose containers run.
    pub(super) async fn list(&self, all: bool) -> Result<Vec<SessionId>, Error> {
        let filters = HashMap::from([("label", vec![self.ours()])]);
        let options = ListContainersOptionsBuilder::new().all(all).filters(&filters).build();
        let listed = self.client().await?.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| self.unreachable(&error))?;
        let names = listed.into_iter().filter_map(|container| container.labels?.remove(container::SESSION));
        Ok(names.filter_map(|name| SessionId::parse(&name)).collect())
    }

    /// What a session's container uses; `None` when it does not run.
    pub(super) async fn usage(&self, session: &SessionId) -> Result<Option<Usage>, Error> {
        let Found::Running { is_paused, .. } = self.find(session).await? else { return Ok(None) };
        let client = self.client().await?;
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let Some(Ok(stats)) = client.stats(&name(session), Some(options)).next().await else {
            return Ok(None);
        };
        let options = InspectContainerOptionsBuilder::new().size(true).build();
        let sized = client.inspect_container(&name(session), Some(options)).await.ok();
        let disk_bytes = sized.and_then(|sized| u64::try_from(sized.size_rw?).ok());
        Ok(Some(Usage {
            is_frozen: is_paused,
            memory_bytes: stats.memory_stats.and_then(|memory| memory.usage),
            processes: stats.pids_stats.and_then(|processes| processes.current),
            cpu_micros: stats.cpu_stats.and_then(|cpu| Some(cpu.cpu_usage?.total_usage? / 1000)),
            disk_bytes,
            ..Usage::default()
        }))
    }

    /// Waits for what was ordered.
    async fn until(&self, session: &SessionId, is_so: impl Fn(&Found) -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !is_so(&self.find(session).await?) {
            if start.elapsed() > END_MAX {
                return Err(set_up(session, &"its container does not end"));
            }
            tokio::time::sleep(END_PAUSE).await;
        }
        Ok(())
    }

    async fn client(&self) -> Result<&bollard::Docker, Error> {
        self.client
            .get_or_try_init(async || {
                let socket = self.config.socket.to_string_lossy();
                let client =
                    bollard::Docker::connect_with_unix(&socket, ANSWER_SECONDS_MAX, API_DEFAULT_VERSION)?;
                client.negotiate_version().await
            })
            .await
            .map_err(|error| self.unreachable(&error))
    }

    /// An answer of these kinds is as good as what was wanted.
    fn settle(&self, session: &SessionId, answer: Result<(), Refused>, fine: &[u16]) -> Result<(), Error> {
        match answer {
            Err(error) if !status(&error).is_some_and(|status| fine.contains(&status)) => {
                Err(self.failed(session, &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, session: &SessionId, error: &Refused) -> Error {
        match error {
            Refused::DockerResponseServerError { message, .. } => set_up(session, message),
            // Many kinds of not being understood or not being there at all.
            other => self.unreachable(other),
        }
    }

    fn unreachable(&self, error: &Refused) -> Error {
        Error::Unavailable {
            reason: format!("ask the container engine at {}: {error}", self.config.socket.display()),
            remedy: "start it, and let this server use its socket".to_owned(),
        }
    }
}

fn status(error: &Refused) -> Option<u16> {
    match error {
        Refused::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn found(inspected: &ContainerInspectResponse) -> Found {
    let Some(state) = &inspected.state else { return Found::Absent };
    // Names are used again once a container has been removed, but not before.
    let made = inspected.created.as_deref().and_then(Timestamp::parse);
    let latest = |text: &Option<String>| made.max(text.as_deref().and_then(Timestamp::parse));
    let pid = state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    if let (Some(true), Some(pid)) = (state.running, pid) {
        let is_paused = state.paused.unwrap_or(false);
        return Found::Running { pid, is_paused, since: latest(&state.started_at) };
    }
    Found::Still { since: latest(&state.finished_at) }
}

/// Whether a driver takes `size` for one container. With overlays that needs project quotas, which only XFS is known for.
pub(super) fn bounds_disk(info: &SystemInfo) -> bool {
    match info.driver.as_deref() {
        Some("btrfs" | "zfs") => true,
        Some("overlay2") => backing(info) == Some("xfs"),
        Some(_) | None => false,
    }
}

/// The file system below the driver.
pub(super) fn backing(info: &SystemInfo) -> Option<&str> {
    let pairs = info.driver_status.as_ref()?.iter();
    let mut found = pairs.filter(|pair| pair.first().is_some_and(|name| name == "Backing Filesystem"));
    found.next()?.get(1).map(String::as_str)
}

/// Where the engine's socket usually is.
pub(super) fn usual_socket() -> PathBuf {
    "/var/run/docker.sock".into()
}
