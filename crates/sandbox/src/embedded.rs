//! The embedded back end: sandboxes of this machine, made by a spawner process that this server starts or finds.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use api::ids::SessionId;
use api::time::Timestamp;
use async_trait::async_trait;
use egress::Channel;
use egress::Grant;
use egress::Policy;
use tokio::process::Command;

use crate::Adopted;
use crate::Backend;
use crate::Error;
use crate::FilePath;
use crate::FilePlace;
use crate::FileWriter;
use crate::Folder;
use crate::LayerName;
use crate::LayerReader;
use crate::LayerWriter;
use crate::Mount;
use crate::MountTarget;
use crate::Place;
use crate::Report;
use crate::Sandbox;
use crate::Spec;
use crate::Status;
use crate::Usage;
use crate::connection::Connection;
use crate::given;
use crate::link::Answered;
use crate::link::Link;
use crate::turns::Turns;
use crate::wire::Answer;
use crate::wire::Ask;
use crate::wire::Kind;
use crate::wire::NAMES_MAX;
use crate::wire::PROTOCOL;

/// How often a request is asked anew because the spawner went away before it answered.
const ATTEMPTS_MAX: u32 = 5;
/// How long the second attempt waits; later ones longer. A spawner that was killed takes connections until it is gone.
const ATTEMPTS_PAUSE: Duration = Duration::from_millis(20);
/// How often a stream is asked for anew because the hand on its other side was dying, and how long to wait before.
const DYING_MAX: usize = 100;
const DYING_PAUSE: Duration = Duration::from_millis(5);

/// How the embedded back end is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the server; the spawner keeps its files in there.
    pub data_dir: PathBuf,
    /// Sandboxes alive at once.
    pub alive_max: usize,
    /// The program that calls [`crate::spawner::main`] when it is started with `arguments`.
    pub program: PathBuf,
    /// What the program is started with.
    pub arguments: Vec<OsString>,
}

impl Config {
    /// Default settings: the spawner is this program, started as `spawner --data DIR`.
    pub fn new(data_dir: &Path) -> io::Result<Self> {
        // The spawner works elsewhere than this process.
        let data_dir = std::path::absolute(data_dir)?;
        Ok(Self {
            alive_max: 256,
            program: "/proc/self/exe".into(),
            arguments: vec!["spawner".into(), "--data".into(), data_dir.clone().into()],
            data_dir,
        })
    }
}

/// Sandboxes of this machine.
#[derive(Debug)]
pub struct Embedded {
    config: Config,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// One connection per sandbox, however often it is asked for.
    connections: Mutex<HashMap<SessionId, Open>>,
    /// Who asks for a connection: of many that a hand is given at once it would drop the first.
    turns: Turns,
    /// To the egress process, which alone is told what sessions may reach.
    egress: Channel,
    /// What the spawner said of itself last.
    status: Mutex<Option<Status>>,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    connection: Arc<Connection>,
    /// Whether the spawner has heard from this process what the sandbox is to be, and to reach. One that was adopted may
    /// still be as another server left it.
    is_specified: bool,
}

/// A connection, or since when it is known that there is nothing to connect to.
type Connected = Result<Arc<Connection>, Option<Timestamp>>;

/// The spawner of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnerInfo {
    /// Its process.
    pub pid: i32,
    /// How it makes and bounds sandboxes.
    pub status: Status,
}

impl Embedded {
    /// A back end on this data folder. Nothing is started until the first request.
    pub fn new(config: Config) -> Self {
        Self {
            egress: Channel::open(&config.data_dir),
            config,
            link: tokio::sync::Mutex::default(),
            connections: Mutex::default(),
            turns: Turns::default(),
            status: Mutex::default(),
        }
    }

    /// The spawner, started if none runs.
    pub async fn spawner(&self) -> Result<SpawnerInfo, Error> {
        match self.ask(Ask::Ping).await? {
            (Answer::Spawner { protocol: _, pid, status }, _) => {
                *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
                Ok(SpawnerInfo { pid, status })
            }
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Ends every sandbox and the spawner, if one runs, and waits until it is gone. For a server that is not coming back.
    pub async fn shut_down(&self) -> Result<(), Error> {
        let mut held = self.link.lock().await;
        let link = match held.take() {
            Some(link) => link,
            None => match Link::open(&self.config.data_dir) {
                Ok(link) => Arc::new(link),
                Err(_) => return Ok(()),
            },
        };
        end(&link).await
    }

    /// Tells the egress process what a session may reach.
    async fn grant(&self, session: &SessionId, network: Option<&Arc<Policy>>) -> Result<(), Error> {
        let Some(policy) = network else { return Ok(()) };
        let granted = self.egress.grant(session, Arc::new(Grant::from(Arc::clone(policy)))).await;
        granted.map_err(|error| {
            let reason = format!("{error}: {}", error.source);
            Error::SetUp { session: session.clone(), reason }
        })
    }

    async fn ask(&self, ask: Ask) -> Result<Answered, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let link = self.link().await?;
            match link.ask(ask.clone()).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(ATTEMPTS_PAUSE * attempt).await;
                }
                other => return other.map_err(|source| Error::Spawner { attempt: "ask", source }),
            }
        }
    }

    /// The open link, or a new one to a spawner that is found or started.
    async fn link(&self) -> Result<Arc<Link>, Error> {
        let mut held = self.link.lock().await;
        if let Some(link) = held.as_ref().filter(|link| !link.is_closed()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(self.reach().await?);
        *held = Some(Arc::clone(&link));
        Ok(link)
    }

    async fn reach(&self) -> Result<Link, Error> {
        if let Ok(link) = Link::open(&self.config.data_dir) {
            match link.ask(Ask::Ping).await {
                Ok((Answer::Spawner { protocol: PROTOCOL, .. }, _)) => return Ok(link),
                // Another version of this program left it; its sandboxes speak another protocol.
                Ok((_, _)) => end(&link).await?,
                Err(_) => {}
            }
        }
        let started = self.start().await;
        match (Link::open(&self.config.data_dir), started) {
            // Somebody else may have started one meanwhile.
            (Ok(link), _) => Ok(link),
            (Err(_), Err(error)) => Err(error),
            (Err(source), Ok(())) => Err(Error::Spawner { attempt: "connect to", source }),
        }
    }

    async fn start(&self) -> Result<(), Error> {
        let failed = |source| Error::Spawner { attempt: "start", source };
        // It goes to the background by itself once it listens.
        let output = Command::new(&self.config.program)
            .args(&self.config.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(io::Error::other(format!("{}: {}", output.status, said.trim()))))
    }

    /// Asks for what is done or not.
    async fn order(&self, ask: Ask, attempt: String) -> Result<(), Error> {
        match self.ask(ask).await? {
            (Answer::Ended, _) => Ok(()),
            (Answer::Failed { reason }, _) => Err(Error::Layer { attempt, reason }),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Asks for a worker: its stream, its number, and the link that knows the number.
    async fn work(&self, ask: Ask, attempt: &str) -> Result<(OwnedFd, u64, Arc<Link>), Error> {
        let link = self.link().await?;
        let answered = link.ask(ask).await.map_err(|source| Error::Spawner { attempt: "ask", source })?;
        match answered {
            (Answer::Working { work }, Some(stream)) => Ok((stream, work, link)),
            (Answer::Failed { reason }, _) => Err(Error::Layer { attempt: attempt.to_owned(), reason }),
            (Answer::Unavailable { reason, remedy }, _) => Err(Error::Unavailable { reason, remedy }),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// The connection that is open already, or one over a stream that is asked for. Without any: since when nothing runs.
    async fn connect(&self, session: &SessionId, ask: Ask) -> Result<Connected, Error> {
        let specifies = matches!(ask, Ask::Provision { .. });
        let open = || if specifies { self.specified(session) } else { self.connected(session) };
        if let Some(connection) = open() {
            return Ok(Ok(connection));
        }
        let _turn = self.turns.take(session).await;
        if let Some(connection) = open() {
            return Ok(Ok(connection));
        }
        for _ in 0..DYING_MAX {
            let connection = match self.connect_once(session, ask.clone()).await? {
                Ok(connection) => connection,
                Err(absent_since) => return Ok(Err(absent_since)),
            };
            if connection.answers().await {
                return Ok(Ok(self.keep(connection, specifies)));
            }
            // The spawner has yet to notice that this one has died.
            tokio::time::sleep(DYING_PAUSE).await;
        }
        Err(Error::Lost { session: session.clone() })
    }

    async fn connect_once(
        &self,
        session: &SessionId,
        ask: Ask,
    ) -> Result<Result<Connection, Option<Timestamp>>, Error> {
        match self.ask(ask).await? {
            (Answer::Connected { sole_since }, Some(stream)) => {
                Connection::open(session.clone(), sole_since, stream).map(Ok).map_err(taking_a_stream)
            }
            (Answer::Absent { sole_since }, _) => Ok(Err(sole_since)),
            (Answer::Unavailable { reason, remedy }, _) => Err(Error::Unavailable { reason, remedy }),
            (Answer::Full, _) => Err(Error::Full { limit: self.config.alive_max }),
            (Answer::Failed { reason }, _) => Err(Error::SetUp { session: session.clone(), reason }),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    fn connected(&self, session: &SessionId) -> Option<Arc<Connection>> {
        self.open().get(session).map(|open| Arc::clone(&open.connection))
    }

    fn specified(&self, session: &SessionId) -> Option<Arc<Connection>> {
        self.open().get(session).filter(|open| open.is_specified).map(|open| Arc::clone(&open.connection))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SessionId, Open>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|_, open| !open.connection.is_lost());
        connections
    }

    fn forget(&self, session: &SessionId) {
        self.open().remove(session);
    }

    fn keep(&self, connection: Connection, is_specified: bool) -> Arc<Connection> {
        let session = connection.session().clone();
        // Somebody else may have asked at the same time, or before to adopt it; one connection is enough.
        let mut connections = self.open();
        let open = connections.entry(session);
        let open = open.or_insert_with(|| Open { connection: Arc::new(connection), is_specified });
        open.is_specified |= is_specified;
        Arc::clone(&open.connection)
    }
}

/// Asks a spawner to end and waits until it has.
async fn end(link: &Link) -> Result<(), Error> {
    match link.ask(Ask::Shutdown).await {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            Err(Error::Spawner { attempt: "end", source: error })
        }
        Ok(_) | Err(_) => {
            link.closed().await;
            Ok(())
        }
    }
}

fn taking_a_stream(source: io::Error) -> Error {
    Error::Spawner { attempt: "take a stream of", source }
}

fn unexpected(answer: &Answer) -> Error {
    let source = io::Error::other(format!("it answered {answer:?}"));
    Error::Spawner { attempt: "understand", source }
}

#[async_trait]
impl Backend for Embedded {
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error> {
        let Spec { session, limits, root, variables, network, makes_layer, mounts } = spec;
        if let Some(connection) = self.specified(session) {
            return Ok(connection);
        }
        let (limits, root, variables) = (*limits, root.clone(), variables.clone());
        let (has_network, makes_layer) = (network.is_some(), *makes_layer);
        let kind = Kind { limits, root, variables, has_network, makes_layer };
        let alive_max = self.config.alive_max;
        let (session_id, mounts) = (session.clone(), mounts.clone());
        let ask = Ask::Provision { session: session_id, kind, mounts, alive_max };
        // The spawner starts the process that is told of the policy, if none runs.
        let (connected, granted) =
            tokio::join!(self.connect(session, ask), self.grant(session, network.as_ref()));
        granted?;
        match connected? {
            Ok(connection) => Ok(connection),
            Err(_) => Err(Error::Lost { session: session.clone() }),
        }
    }

    fn find(&self, session: &SessionId) -> Option<Arc<dyn Sandbox>> {
        self.connected(session).map(|connection| connection as Arc<dyn Sandbox>)
    }

    /// Proofs begin with the start of the spawner.
    async fn stand_by(&self) -> Result<(), Error> {
        self.link().await.map(drop)
    }

    async fn adopt(&self, session: &SessionId) -> Result<Adopted, Error> {
        Ok(match self.connect(session, Ask::Adopt { session: session.clone() }).await? {
            Ok(connection) => {
                let sole_since = connection.sole_since();
                Adopted { sandbox: Some(connection), sole_since }
            }
            Err(sole_since) => Adopted { sandbox: None, sole_since },
        })
    }

    async fn destroy(&self, session: &SessionId, keep_files: bool) -> Result<(), Error> {
        // Whoever wants it from now on must not be given the stream to the one that dies, which may seem alive a little longer.
        self.forget(session);
        self.egress.release(session);
        match self.ask(Ask::End { session: session.clone(), keep_files }).await? {
            (Answer::Ended, _) => Ok(()),
            (Answer::Failed { reason }, _) => Err(Error::SetUp { session: session.clone(), reason }),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    async fn freeze(&self, session: &SessionId) -> Result<bool, Error> {
        // Whoever wants it from now on asks the spawner, which lets it thaw.
        self.forget(session);
        match self.ask(Ask::Freeze { session: session.clone() }).await? {
            (Answer::Frozen { is_frozen }, _) => Ok(is_frozen),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    async fn usage(&self, session: &SessionId) -> Result<Option<Usage>, Error> {
        match self.ask(Ask::Usage { session: session.clone() }).await? {
            (Answer::Usage { usage }, _) => Ok(usage),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    async fn kept(&self) -> Result<Vec<SessionId>, Error> {
        let mut all: Vec<SessionId> = Vec::new();
        loop {
            let (answer, _) = self.ask(Ask::Kept { after: all.last().cloned() }).await?;
            let Answer::Sessions { sessions } = answer else { return Err(unexpected(&answer)) };
            let is_last = sessions.len() < NAMES_MAX;
            all.extend(sessions);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn pack(&self, session: &SessionId) -> Result<LayerReader, Error> {
        let attempt = format!("pack the files of session {session}");
        let (stream, _, _) = self.work(Ask::Pack { session: session.clone() }, &attempt).await?;
        LayerReader::open(stream).map_err(taking_a_stream)
    }

    async fn unpack(&self, place: &Place) -> Result<LayerWriter, Error> {
        let (stream, work, link) = self.work(Ask::Unpack { place: place.clone() }, "unpack a layer").await?;
        LayerWriter::of_spawner(stream, link, work).map_err(taking_a_stream)
    }

    async fn commit(&self, session: &SessionId, layer: &LayerName) -> Result<(), Error> {
        let attempt = format!("make layer {layer} of the files of session {session}");
        self.order(Ask::Commit { session: session.clone(), layer: layer.clone() }, attempt).await
    }

    async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        let mut all: Vec<LayerName> = Vec::new();
        loop {
            let (answer, _) = self.ask(Ask::Layers { after: all.last().cloned() }).await?;
            let Answer::Layers { layers } = answer else { return Err(unexpected(&answer)) };
            let is_last = layers.len() < NAMES_MAX;
            all.extend(layers);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn remove_layer(&self, layer: &LayerName) -> Result<(), Error> {
        self.order(Ask::RemoveLayer { layer: layer.clone() }, format!("remove layer {layer}")).await
    }

    async fn mount(&self, session: &SessionId, mount: &Mount) -> Result<(), Error> {
        let attempt = format!("mount {} in the sandbox of session {session}", mount.target);
        self.order(Ask::Mount { session: session.clone(), mount: mount.clone() }, attempt).await
    }

    async fn unmount(&self, session: &SessionId, target: &MountTarget) -> Result<(), Error> {
        let attempt = format!("unmount {target} in the sandbox of session {session}");
        self.order(Ask::Unmount { session: session.clone(), target: target.clone() }, attempt).await
    }

    async fn put_file(&self, place: &FilePlace) -> Result<FileWriter, Error> {
        let ask = Ask::NewFile { session: place.session.clone(), folder: place.folder.clone() };
        let link = self.link().await?;
        let answered = link.ask(ask).await.map_err(|source| Error::Spawner { attempt: "ask", source })?;
        match answered {
            (Answer::File, Some(file)) => Ok(FileWriter::of_spawner(file, place.clone(), link)),
            (Answer::Failed { reason }, _) => Err(given::failed(place, &reason)),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    async fn remove_file(&self, session: &SessionId, folder: &Folder, path: &FilePath) -> Result<(), Error> {
        let attempt = format!("take the file {path} from session {session}");
        let (session, folder, path) = (session.clone(), folder.clone(), path.clone());
        self.order(Ask::RemoveFile { session, folder, path }, attempt).await
    }

    async fn list(&self) -> Result<Vec<SessionId>, Error> {
        let is_linked = self.link.lock().await.as_ref().is_some_and(|link| !link.is_closed());
        if !is_linked && Link::open(&self.config.data_dir).is_err() {
            // No spawner, no sandboxes.
            return Ok(Vec::new());
        }
        match self.ask(Ask::List).await? {
            (Answer::Sessions { sessions }, _) => Ok(sessions),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    fn status(&self) -> Option<Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn report(&self) -> Report {
        crate::doctor::report(&self.config.data_dir)
    }
}
