//! Sandboxes in containers: one per session, made by a container engine that the operator runs.
//!
//! The container is the kept thing: its writable layer holds what the session wrote, whether it runs or not, and its name
//! and labels say whose it is. Its first process is the same hand as everywhere, shown inside read-only. It does not
//! listen. A server that wants a stream puts a listening socket into a folder of the session's, which the container sees
//! read-only, and rings: the hand connects ([`hand::contain`]). Adoption after a crash of the server is the same as the
//! first meeting.
//!
//! Who is who is shown by the kernel, not by a secret. The server takes a connection only from the process that the engine
//! says is the first of that container; other processes inside may find the socket in the moment that it exists, and are
//! turned away. The hand talks only to listeners outside of its process namespace, found through a folder that it opened
//! before anything else ran in the container. Nothing inside can write to what is shared, so neither the socket nor the
//! hand can be replaced, and no file of the host's is filled from inside. Sessions cannot meet each other's servers, for
//! each has a folder of its own. It follows that server and engine run on one host, and see the same processes and paths.
//!
//! A container has no network but a loopback device. The listeners that catch its connections stay with the hand, which
//! gives copies to each server that it meets; they go on to the egress process, which the server starts ([`network`]).

mod backend;
mod container;
mod door;
mod engine;
mod files;
mod network;
mod report;

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use api::ids::SessionId;
use hand::contain;

use self::door::Met;
use self::engine::Engine;
use self::engine::Found;
use self::files::Files;
use self::network::Network;
use crate::Base;
use crate::Error;
use crate::Folder;
use crate::Spec;
use crate::Status;
use crate::connection::Connection;
use crate::spawner::launch;
use crate::turns::Turns;
use crate::wire::PROTOCOL;

/// How long a container is tried to be had that another server makes or removes, or that ends in the moment it is met.
const ATTEMPTS_TIME: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// How sandboxes in containers are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Folder of the server, on the engine's host. Containers are labelled with it.
    pub data_dir: PathBuf,
    /// The image of every container. It must be there already, and have `bash`.
    pub image: String,
    /// Sandboxes alive at once.
    pub alive_max: usize,
    /// The program that is the door to the network when it is started with `egress`, as [`egress::main`] is called; its own
    /// arguments follow that word. Usually this program.
    pub program: PathBuf,
    /// The runtime, by the engine's name for it; the engine's default without one.
    pub runtime: Option<String>,
}

/// Sandboxes in containers.
#[derive(Debug)]
pub struct Docker {
    config: Config,
    engine: Engine,
    files: Files,
    network: Network,
    turns: Turns,
    /// One connection per sandbox, however often it is asked for.
    connections: Mutex<HashMap<SessionId, Arc<Connection>>>,
    /// Sessions whose containers are being started, which the engine does not count yet.
    starting: Mutex<HashSet<SessionId>>,
    /// What the engine said of itself last.
    status: Mutex<Option<Status>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Docker {
    /// A back end on this engine. Nothing is asked of it until the first request.
    pub fn new(config: Config) -> Self {
        // The engine is told of paths, and works elsewhere than this process.
        let data_dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let config = Config { data_dir, ..config };
        Self {
            engine: Engine::new(&config),
            files: Files::new(&config.data_dir),
            network: Network::new(&config),
            config,
            turns: Turns::default(),
            connections: Mutex::default(),
            starting: Mutex::default(),
            status: Mutex::default(),
        }
    }

    /// Asks the engine what it can do.
    pub async fn look(&self) -> Status {
        let status = report::status(&report::look(&self.config, &self.engine).await);
        *lock(&self.status) = Some(status.clone());
        status
    }

    fn connected(&self, session: &SessionId) -> Option<Arc<Connection>> {
        let mut connections = lock(&self.connections);
        connections.retain(|session, connection| {
            let is_lost = connection.is_lost();
            if is_lost {
                self.network.close(session, false);
            }
            !is_lost
        });
        connections.get(session).map(Arc::clone)
    }

    fn forget(&self, session: &SessionId) {
        lock(&self.connections).remove(session);
    }

    fn keep(&self, connection: Connection) -> Arc<Connection> {
        let connection = Arc::new(connection);
        lock(&self.connections).insert(connection.session().clone(), Arc::clone(&connection));
        connection
    }

    /// Makes the session's container run. Answers whether it did already.
    async fn start(&self, spec: &Spec) -> Result<bool, Error> {
        let session = &spec.session;
        let is_kept = match self.engine.find(session).await? {
            Found::Running { is_paused, .. } => {
                if is_paused {
                    self.engine.thaw(session).await?;
                }
                return Ok(true);
            }
            Found::Still { .. } => true,
            Found::Absent => false,
        };
        let _starting = self.admit(session).await?;
        self.files.make(session).map_err(|error| set_up(session, &error))?;
        if is_kept {
            self.engine.bound(session, &spec.limits).await?;
        } else {
            self.engine.create(spec, &self.files).await?;
        }
        self.engine.start(session).await?;
        Ok(false)
    }

    /// Keeps within the number of sandboxes that may be alive, counting this one for as long as the answer lives.
    async fn admit(&self, session: &SessionId) -> Result<Starting<'_>, Error> {
        let guard = Starting::begin(self, session);
        let mut alive: HashSet<SessionId> = self.engine.list(false).await?.into_iter().collect();
        alive.extend(lock(&self.starting).iter().cloned());
        if alive.len() > self.config.alive_max {
            return Err(Error::Full { limit: self.config.alive_max });
        }
        Ok(guard)
    }

    /// A stream to the hand in a running container. `None` when the container is not running (any more).
    async fn meet(
        &self,
        session: &SessionId,
        spec: Option<&Spec>,
        rings: bool,
    ) -> Result<Option<Connection>, Error> {
        let bounds_disk = match spec {
            Some(_) => self.engine.bounds_disk().await?,
            None => true,
        };
        let given = spec.map(|spec| hand_spec(spec, bounds_disk));
        match door::meet(&self.engine, &self.files, session, given.as_ref(), rings).await? {
            Met::Serving { stream, listeners, since } => {
                let admitted = self.admit_to_network(session, spec, listeners).await;
                admitted.map_err(|error| set_up(session, &error))?;
                let opened = Connection::open(session.clone(), since, stream);
                Ok(Some(opened.map_err(|error| set_up(session, &error))?))
            }
            Met::Gone => Ok(None),
            Met::Foreign => {
                // Another version of this program left it, or one that died before it said what it is to be.
                self.engine.kill(session).await?;
                Ok(None)
            }
        }
    }

    /// Lets a container out, as far as its session may: as the specification says, or else as it last said.
    async fn admit_to_network(
        &self,
        session: &SessionId,
        spec: Option<&Spec>,
        listeners: Vec<OwnedFd>,
    ) -> io::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let has_network = match spec {
            // The process was told when the specification came.
            Some(spec) => spec.network.is_some(),
            None => match self.files.read_policy(session)? {
                Some(policy) => self.network.grant(session, &Arc::new(policy)).await.map(|()| true)?,
                None => false,
            },
        };
        if has_network { self.network.admit(session, listeners) } else { Ok(()) }
    }

    /// Takes note of what a session may reach, for containers that run and for servers to come.
    async fn note_policy(&self, spec: &Spec) -> Result<(), Error> {
        let Some(policy) = &spec.network else { return Ok(()) };
        let written = self.files.write_policy(&spec.session, policy);
        written.map_err(|error| set_up(&spec.session, &error))?;
        let granted = self.network.grant(&spec.session, policy).await;
        granted.map_err(|error| set_up(&spec.session, &error))
    }

    /// Where the files lie that are shown in a folder.
    fn shown(&self, session: &SessionId, folder: &Folder) -> Result<PathBuf, Error> {
        match folder {
            Folder::Uploads => Ok(self.files.uploads(session)),
            Folder::Mount(_) => Err(Error::Unsupported { what: crate::MOUNTS }),
        }
    }

    /// What is not done here, rather than half of it: containers stand on the configured image, and on what was installed
    /// over it once.
    fn check(spec: &Spec) -> Result<(), Error> {
        let what = match (&spec.root.base, spec.root.layers.len()) {
            _ if !spec.mounts.is_empty() => crate::MOUNTS,
            (Base::Host, 0) => return Ok(()),
            (Base::Host, 1) if !spec.makes_layer => return Ok(()),
            (Base::Host, _) => "a layer on another one, for sandboxes in containers",
            (Base::Empty | Base::Directory(_), _) => {
                "a root file system other than the image of the engine, for sandboxes in containers"
            }
        };
        Err(Error::Unsupported { what })
    }

    /// Removes all there is of a session.
    async fn discard(&self, session: &SessionId) -> Result<(), Error> {
        self.network.close(session, true);
        self.network.release(session);
        self.engine.remove(session).await?;
        self.files.remove(session).map_err(|error| set_up(session, &error))
    }

    /// That nothing of a session runs, and that there is something of it.
    async fn check_rests(&self, session: &SessionId, attempt: &str) -> Result<(), Error> {
        let reason = match self.engine.find(session).await? {
            Found::Still { .. } => return Ok(()),
            Found::Running { .. } => "its sandbox runs",
            Found::Absent => "it has no files here",
        };
        Err(Error::Layer { attempt: attempt.to_owned(), reason: reason.to_owned() })
    }
}

/// What the hand is told. Where the engine cannot bound the files of a container, each single one is bounded.
fn hand_spec(spec: &Spec, bounds_disk: bool) -> contain::Spec {
    contain::Spec {
        protocol: PROTOCOL,
        file_bytes_max: (!bounds_disk).then_some(spec.limits.disk_bytes_max),
        has_network: spec.network.is_some(),
        variables: launch::environment(&spec.variables, spec.network.is_some()),
    }
}

fn set_up(session: &SessionId, reason: &impl ToString) -> Error {
    Error::SetUp { session: session.clone(), reason: reason.to_string() }
}

/// Counts a session among the living while its container is being started.
struct Starting<'a> {
    docker: &'a Docker,
    session: SessionId,
}

impl<'a> Starting<'a> {
    fn begin(docker: &'a Docker, session: &SessionId) -> Self {
        lock(&docker.starting).insert(session.clone());
        Self { docker, session: session.clone() }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        lock(&self.docker.starting).remove(&self.session);
    }
}
