//! Sandboxes: where the tool calls of a session run.
//!
//! A [`Backend`] makes sandboxes and finds the ones that still live; a [`Sandbox`] carries calls into one of them. The
//! embedded back end is our own code on system calls: a spawner process (privileged as far as the host allows, without
//! secrets) makes one `hand` per session behind namespaces, an overlay file system, seccomp and limits.
//!
//! Invariants: a call is executed at most once per id, whatever happens to the connection or to this process; a result
//! stays inside the sandbox until it is acknowledged; a sandbox never runs with fewer walls than were asked for.

mod beneath;
mod connection;
pub mod docker;
mod doctor;
mod embedded;
mod error;
mod given;
pub mod images;
mod layer;
mod link;
mod operations;
pub mod spawner;
mod sys;
mod task;
mod turns;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::ids::EventId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::time::Timestamp;
use async_trait::async_trait;
use hand::protocol::operation::Answer;
use hand::protocol::operation::Operation;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

pub use doctor::report;
pub use embedded::Config;
pub use embedded::Embedded;
pub use embedded::SpawnerInfo;
pub use error::Error;
pub use given::Access;
pub use given::FILE_BYTES_MAX;
pub use given::FilePath;
pub use given::FilePlace;
pub use given::FileWriter;
pub use given::Folder;
pub use given::MOUNTS_MAX;
pub use given::Mount;
pub use given::MountTarget;
pub use given::NotAPath;
pub use given::NotATarget;
pub use given::UPLOADS;
/// What is asked of a sandbox beside tool calls, and what it answers.
pub use hand::protocol::operation;
pub use hand::text::plain as plain_text;
pub use images::ImageRoot;
pub use layer::Chunk;
pub use layer::LayerName;
pub use layer::LayerReader;
pub use layer::LayerWriter;
pub use layer::NotALayer;
pub use layer::Packed;
pub use layer::Unpacked;
pub use operations::Output;

/// The program inside a sandbox, built by this crate's build script.
static HAND: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hand"));

/// What back ends without mounts lack.
const MOUNTS: &str = "showing folders to sandboxes";

/// Makes sandboxes, one per session, and finds those that outlived the server that made them.
///
/// What only some back ends can do has an answer already: [`Error::Unsupported`].
#[async_trait]
pub trait Backend: Send + Sync {
    /// The running sandbox of this session, or a new one over the files that the session left. A frozen one thaws.
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error>;

    /// The sandbox of this session, when this process is connected to it already. Nobody is asked and nothing is made, so a
    /// caller who only wants to go on in a sandbox need not put together what a new one would be.
    fn find(&self, _session: &SessionId) -> Option<Arc<dyn Sandbox>> {
        None
    }

    /// Returns once the back end can prove of each call that is wanted from now on that it was never begun, where it can
    /// prove that at all: see [`Adopted::sole_since`].
    async fn stand_by(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What there is of this session's sandbox. Never makes one. A frozen one thaws.
    async fn adopt(&self, session: &SessionId) -> Result<Adopted, Error>;

    /// Ends the sandbox of this session, if one runs, and removes its files unless they are to be kept.
    async fn destroy(&self, session: &SessionId, keep_files: bool) -> Result<(), Error>;

    /// The sessions whose sandboxes run. Starts nothing.
    async fn list(&self) -> Result<Vec<SessionId>, Error>;

    /// What the host offers this back end, for `doctor`.
    fn report(&self) -> Report;

    /// How sandboxes are made and bounded at this moment; `None` before the first one was asked for.
    fn status(&self) -> Option<Status> {
        None
    }

    /// Stops every process of a sandbox until it is provisioned or adopted again. False where the host cannot do that, or
    /// nothing runs.
    async fn freeze(&self, _session: &SessionId) -> Result<bool, Error> {
        Ok(false)
    }

    /// What a session's sandbox uses; `None` when none runs. Changes nothing.
    async fn usage(&self, _session: &SessionId) -> Result<Option<Usage>, Error> {
        Ok(None)
    }

    /// The sessions that have files here, whether their sandboxes run or not.
    async fn kept(&self) -> Result<Vec<SessionId>, Error> {
        Ok(Vec::new())
    }

    /// What a session has written, as one packed layer. Its sandbox must not run; its files stay.
    async fn pack(&self, _session: &SessionId) -> Result<LayerReader, Error> {
        Err(Error::Unsupported { what: "packing the files of a sandbox" })
    }

    /// Takes a packed layer in. It is there once [`LayerWriter::finish`] has returned, and not at all before.
    async fn unpack(&self, _place: &Place) -> Result<LayerWriter, Error> {
        Err(Error::Unsupported { what: "unpacking layers" })
    }

    /// Makes a layer of what a session has written. Its sandbox must not run; it has no files afterwards.
    async fn commit(&self, _session: &SessionId, _layer: &LayerName) -> Result<(), Error> {
        Err(Error::Unsupported { what: "making layers" })
    }

    /// The layers that are here.
    async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        Ok(Vec::new())
    }

    /// Removes a layer. Fine when it is not there; refused while a sandbox stands on it.
    async fn remove_layer(&self, _layer: &LayerName) -> Result<(), Error> {
        Ok(())
    }

    /// Shows a session a folder, empty unless it was there before: at once if its sandbox runs. For the next start
    /// [`Spec::mounts`] counts. Fine when it is shown already; refused when another mount lies below it.
    ///
    /// A session that was given something counts among the [`Backend::kept`] ones.
    async fn mount(&self, _session: &SessionId, _mount: &Mount) -> Result<(), Error> {
        Err(Error::Unsupported { what: MOUNTS })
    }

    /// Takes a folder away, with what is in it: at once if the sandbox runs, from whoever uses it as soon as he does not any
    /// more. Fine when it is not there; refused when another mount lies below it.
    async fn unmount(&self, _session: &SessionId, _target: &MountTarget) -> Result<(), Error> {
        Err(Error::Unsupported { what: MOUNTS })
    }

    /// Puts a file into a folder of a session, whether its sandbox runs or not. Inside, one sees what was there or the
    /// whole new file.
    async fn put_file(&self, _place: &FilePlace) -> Result<FileWriter, Error> {
        Err(Error::Unsupported { what: "giving files to sandboxes" })
    }

    /// Removes a file from a folder of a session. Fine when it is not there.
    async fn remove_file(
        &self,
        _session: &SessionId,
        _folder: &Folder,
        _path: &FilePath,
    ) -> Result<(), Error> {
        Err(Error::Unsupported { what: "giving files to sandboxes" })
    }
}

/// One running sandbox.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Runs a call and waits for its result. A call whose id the sandbox already knows is not run again: its first
    /// result is answered. Dropping the future does not stop the call, see [`Sandbox::cancel`].
    async fn execute(&self, call: &Call) -> Result<Outcome, Error>;

    /// Performs an operation of the server's own: see `exec`, `write_file`, `read_file` and `list_files` for what each does.
    /// Without an id it cannot be asked for again.
    async fn operate(
        &self,
        id: Option<&EventId>,
        operation: Operation,
        output: Option<Output>,
    ) -> Result<Answer, Error>;

    /// What became of a call; waits while it runs.
    async fn recall(&self, id: &EventId) -> Result<Recall, Error>;

    /// Lets the sandbox forget these results: they are in the log.
    async fn acknowledge(&self, ids: &[EventId]) -> Result<(), Error>;

    /// Ends a running call; whoever waits for it gets its result, which says so.
    async fn cancel(&self, id: &EventId) -> Result<(), Error>;

    /// Puts the shells to rest: where they are and what they know is among the files afterwards. For a sandbox that is
    /// about to be ended.
    async fn rest(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// What there is of a session's sandbox.
pub struct Adopted {
    /// The sandbox, if one runs.
    pub sandbox: Option<Arc<dyn Sandbox>>,
    /// Since when no other sandbox than that one, or none, has run for the session: a call that was wanted later and that
    /// the sandbox does not know was never run. `None` when that cannot be proven.
    pub sole_since: Option<Timestamp>,
}

/// What a sandbox is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The session that it belongs to; also the name of its folder.
    pub session: SessionId,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// What it sees as its root file system.
    pub root: Root,
    /// Environment variables of its shells and tools.
    pub variables: BTreeMap<String, String>,
    /// What it may reach; nothing without one.
    pub network: Option<Arc<egress::Policy>>,
    /// Whether what it writes is to become a layer: see [`Backend::commit`].
    pub makes_layer: bool,
    /// Folders of the session's own that are shown from the start. Of no effect on one that runs: see [`Backend::mount`].
    pub mounts: Vec<Mount>,
}

impl Spec {
    /// The sandbox of a session with default limits over the host's `/usr`.
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            limits: Limits::default(),
            root: Root::default(),
            variables: BTreeMap::new(),
            network: None,
            makes_layer: false,
            mounts: Vec::new(),
        }
    }
}

/// Bounds of one sandbox, enforced by control groups where the host has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all its processes together, the file system in memory included.
    pub memory_bytes_max: u64,
    /// Processes and threads alive at once.
    pub processes_max: u32,
    /// Thousandths of a processor.
    pub cpu_millis_max: u32,
    /// What its files may take on disk.
    pub disk_bytes_max: u64,
    /// Files, folders and links that it may make.
    pub disk_files_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 8 << 30,
            processes_max: 1024,
            cpu_millis_max: 2000,
            disk_bytes_max: 10 << 30,
            disk_files_max: 1_000_000,
        }
    }
}

/// How sandboxes are made and bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// How they are made; `None` when they cannot be.
    pub mode: Option<Mode>,
    /// What bounds their files.
    pub disk: String,
    /// Whether those that idle are frozen.
    pub can_freeze: bool,
    /// What this host lacks for more walls or bounds.
    pub missing: Vec<String>,
}

/// One line for each fact.
impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, disk, can_freeze, missing } = self;
        writeln!(f, "sandboxes: {}", mode.map_or("cannot be made", Mode::name))?;
        writeln!(f, "disk bound: {disk}")?;
        writeln!(f, "freezer: {}", if *can_freeze { "yes" } else { "no" })?;
        writeln!(f, "missing: {}", if missing.is_empty() { "nothing".to_owned() } else { missing.join(", ") })
    }
}

/// What a running sandbox uses. A number is absent where the host does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Whether its processes stand still.
    pub is_frozen: bool,
    /// Memory, the file system in memory and cached files included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time since it was made.
    pub cpu_micros: Option<u64>,
    /// Processes that were killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// What its files take on disk.
    pub disk_bytes: Option<u64>,
    /// How many files it has written.
    pub disk_files: Option<u64>,
}

/// The files that a new sandbox starts with. They are never written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// What lies at the bottom.
    pub base: Base,
    /// What lies on it, from the bottom up.
    pub layers: Vec<LayerName>,
}

/// What lies at the bottom of a root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The host's `/usr` read-only, with a synthesised `/etc` and nothing else of the host.
    #[default]
    Host,
    /// Nothing: the layers are the whole of it, as in an image.
    Empty,
    /// A root file system unpacked in this folder.
    Directory(PathBuf),
}

/// Where a packed layer is taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// As the files of a session, in the place of any that it has, those in read-write mounts included. What it was given
    /// read-only stays. Its sandbox must not run. What holds far more than the session's limits allow on disk is refused.
    Files {
        /// Whose they are.
        session: SessionId,
        /// What its sandboxes are bounded by.
        limits: Limits,
    },
    /// Among the layers. One that is there already stays as it is.
    Layer(LayerName),
}

/// One tool call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The event that asked for it, which is also its id inside the sandbox.
    pub id: EventId,
    /// The thread that asked; each has a shell of its own.
    pub thread: ThreadId,
    /// Name of the tool.
    pub tool: String,
    /// The tool's input as the model wrote it.
    pub input: Arc<RawValue>,
}

/// Result of a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Content blocks as they go on the wire.
    pub content: Vec<Arc<RawValue>>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum Recall {
    /// It ended, and this is its result.
    Finished(Outcome),
    /// The sandbox never saw it or has forgotten it.
    Unknown,
}

/// What the host offers a back end.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How sandboxes are made here; `None` when they cannot be.
    pub mode: Option<Mode>,
    /// Each thing that was looked for.
    pub primitives: Vec<Primitive>,
}

/// How sandboxes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As root: a range of 65536 ids per sandbox, id-mapped layers, the user namespace entered last.
    Root,
    /// Unprivileged, with a range of subordinate ids mapped by `newuidmap`.
    SubordinateIds,
    /// Unprivileged, with a single id: everything inside is one user.
    SingleId,
    /// By a container engine, each in a container.
    Containers,
}

impl Mode {
    /// What people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "as root, each with ids of its own",
            Self::SubordinateIds => "unprivileged, with subordinate ids",
            Self::SingleId => "unprivileged, with a single id",
            Self::Containers => "in containers of an engine",
        }
    }
}

/// One thing that the host has or lacks.
#[derive(Clone, Debug, Serialize)]
pub struct Primitive {
    /// Its name.
    pub name: &'static str,
    /// Whether it can be used.
    pub present: bool,
    /// What was found.
    pub detail: String,
    /// What its absence costs.
    pub cost: &'static str,
    /// How to get it.
    pub remedy: String,
}
