//! What a server and the spawner say to each other: one JSON document per message, a descriptor attached to some.
//!
//! Private to one build of the program except for [`PROTOCOL`]: a server that finds a spawner of another protocol ends it
//! and starts its own.

use std::collections::BTreeMap;

use api::ids::SessionId;
use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::FilePath;
use crate::FilePlace;
use crate::Folder;
use crate::LayerName;
use crate::Limits;
use crate::Mount;
use crate::MountTarget;
use crate::Place;
use crate::Root;
use crate::Status;
use crate::Usage;

/// Raised with every change of this file or of the protocol of the hand.
pub(crate) const PROTOCOL: u32 = 4;
/// Name of the spawner's socket in the data folder.
pub(crate) const SOCKET: &str = "spawner.sock";
/// Longest message in either direction. The kernel's usual bound on what a socket holds is just above.
pub(crate) const MESSAGE_BYTES_MAX: usize = 384 * 1024;

/// Sessions or layers in one answer.
pub(crate) const NAMES_MAX: usize = 1000;

/// A question, with a number that its answer repeats.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

/// What a server wants of the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// A connection to the session's sandbox, made if there is none.
    Provision { session: SessionId, kind: Kind, mounts: Vec<Mount>, alive_max: usize },
    /// A connection to the session's sandbox if it runs.
    Adopt { session: SessionId },
    /// No sandbox of the session any more; no files either, unless they are kept.
    End { session: SessionId, keep_files: bool },
    /// What the session's sandbox uses.
    Usage { session: SessionId },
    /// The processes of the session's sandbox stand still until it is provisioned or adopted.
    Freeze { session: SessionId },
    /// The sessions whose sandboxes run.
    List,
    /// The next sessions that have files.
    Kept { after: Option<SessionId> },
    /// The stream of a worker that packs what the session has written.
    Pack { session: SessionId },
    /// The stream of a worker that unpacks.
    Unpack { place: Place },
    /// Whether the worker has ended, and what it did is in its place.
    Await { work: u64 },
    /// What the session has written becomes a layer.
    Commit { session: SessionId, layer: LayerName },
    /// The next layers that are here.
    Layers { after: Option<LayerName> },
    /// One layer less.
    RemoveLayer { layer: LayerName },
    /// A folder is shown to a session.
    Mount { session: SessionId, mount: Mount },
    /// A folder is taken away from a session.
    Unmount { session: SessionId, target: MountTarget },
    /// A file without a name in a folder of a session.
    NewFile { session: SessionId, folder: Folder },
    /// The attached file gets its name.
    PutFile { place: FilePlace },
    /// One file less.
    RemoveFile { session: SessionId, folder: Folder, path: FilePath },
    /// Who the spawner is.
    Ping,
    /// End every sandbox and the spawner.
    Shutdown,
}

/// What a sandbox is to be, whoever it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) limits: Limits,
    pub(crate) root: Root,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) has_network: bool,
    pub(crate) makes_layer: bool,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// What the spawner says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The stream to the hand is attached.
    Connected { sole_since: Option<Timestamp> },
    /// No sandbox of this session runs.
    Absent { sole_since: Option<Timestamp> },
    /// Done; nothing runs any more.
    Ended,
    /// What it uses; nothing when none runs.
    Usage { usage: Option<Usage> },
    /// It stands still; or it cannot be made to.
    Frozen { is_frozen: bool },
    /// The file is attached.
    File,
    /// The stream of a worker is attached.
    Working { work: u64 },
    /// Sessions, as was asked.
    Sessions { sessions: Vec<SessionId> },
    /// The layers that are here.
    Layers { layers: Vec<LayerName> },
    /// The spawner.
    Spawner { protocol: u32, pid: i32, status: Status },
    /// The host cannot make sandboxes.
    Unavailable { reason: String, remedy: String },
    /// As many sandboxes run as are allowed.
    Full,
    /// The sandbox could not be made.
    Failed { reason: String },
}
