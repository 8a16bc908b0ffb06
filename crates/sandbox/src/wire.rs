//! What a server and the spawner say to each other: one JSON document per message, a descriptor attached to some.
//!
//! Private to one build of the program except for [`PROTOCOL`]: a server that finds a spawner of another protocol ends it
//! and starts its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::ids::SessionId;
use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::LayerName;
use crate::Limits;
use crate::Place;
use crate::Root;
use crate::Status;
use crate::Usage;

/// Raised with every change of this file or of the protocol of the hand.
pub(crate) const PROTOCOL: u32 = 3;
/// Name of the spawner's socket in the data folder.
pub(crate) const SOCKET: &str = "spawner.sock";
/// Longest message in either direction. A policy of a thousand long names is the longest; the kernel's usual bound on
/// what a socket holds is just above.
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
    /// A connection to the session's sandbox, made if there is none. `policy` is what it may reach, which concerns the
    /// egress process alone.
    Provision { session: SessionId, kind: Kind, policy: Option<Arc<RawValue>>, alive_max: usize },
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
