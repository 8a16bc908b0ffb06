//! What can go wrong in the store. Every variant says what was attempted on what.

use std::path::PathBuf;

use api::ids::EventId;
use api::ids::SessionId;

/// What a driver said.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed store call. Nothing of the call took effect, unless it is [`Error::Database`] with `is_unknown`.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "always written store::Error or imported alone")]
pub enum Error {
    /// No such object, or it belongs to another workspace.
    #[error("find {what} {id}: not found")]
    NotFound {
        /// The noun.
        what: &'static str,
        /// Its id, as asked for.
        id: String,
    },
    /// The object changed since the caller read it.
    #[error("replace {what} {id}: it is at {current} by now")]
    Conflict {
        /// The noun.
        what: &'static str,
        /// Its id.
        id: String,
        /// The version (or time of last change in microseconds) that is stored.
        current: i64,
    },
    /// An object or entry of this id is there already.
    #[error("insert {what} {id}: it exists already")]
    Exists {
        /// The noun.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Sessions refer to the object.
    #[error("delete {what} {id}: {sessions} sessions refer to it")]
    InUse {
        /// The noun.
        what: &'static str,
        /// Its id.
        id: String,
        /// How many sessions refer to it.
        sessions: i64,
    },
    /// The session is at work or somebody holds its lease.
    #[error("delete session {id}: it is running")]
    Running {
        /// The session.
        id: SessionId,
    },
    /// The caller lost its lease: its epoch is not the current one, or the lease was given back.
    #[error("append to session {session} with epoch {epoch}: fenced, the epoch is {current} by now")]
    Fenced {
        /// Key of the session.
        session: i64,
        /// The caller's epoch.
        epoch: i64,
        /// The epoch that is stored.
        current: i64,
        /// The node that holds the lease, when one does.
        holder: Option<String>,
    },
    /// The session is archived or terminated and takes no more events from clients.
    #[error("append to session {id}: it has ended")]
    SessionEnded {
        /// The session.
        id: SessionId,
    },
    /// The call that a client answers waits for no such answer, and never did.
    #[error("append an answer to call {call}: it waits for none")]
    NotWaiting {
        /// The call.
        call: EventId,
    },
    /// The session is idle until the client answers these calls, and takes no messages meanwhile.
    #[error("append a message to a session: it waits for answers to {} calls", calls.len())]
    Waiting {
        /// The calls without an answer.
        calls: Vec<EventId>,
    },
    /// A bound of `limits.rs` was hit.
    #[error("{op}: {size} {what} are more than {max}")]
    TooLarge {
        /// What was attempted.
        op: &'static str,
        /// What was counted.
        what: &'static str,
        /// How many there were.
        size: usize,
        /// How many there may be.
        max: usize,
    },
    /// Another process has the same database file open.
    #[error("open {}: another server is using this data (it holds {})", path.display(), lock.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// The lock file beside it.
        lock: PathBuf,
    },
    /// A file of the store cannot be used.
    #[error("{op} {}", path.display())]
    File {
        /// What was attempted.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The target asks for something that this build cannot do.
    #[error("open the database: {what}")]
    Unsupported {
        /// What is not supported, and what to do instead.
        what: String,
    },
    /// A stored value is not what this program wrote.
    #[error("read {what} from the database: unexpected value {value:?}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What was found.
        value: String,
    },
    /// The database failed.
    #[error("{op}")]
    Database {
        /// What was attempted.
        op: String,
        /// Whether the change may have become durable although it was never acknowledged: the connection broke while
        /// it was being committed.
        is_unknown: bool,
        /// What the driver said.
        #[source]
        source: Source,
    },
    /// The store is shutting down, or its writer stopped after the disk failed.
    #[error("{op}: the store has stopped: {reason}")]
    Stopped {
        /// What was attempted.
        op: &'static str,
        /// Why it stopped.
        reason: String,
    },
}

impl Error {
    pub(crate) fn database(op: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Database { op: op.into(), is_unknown: false, source: source.into() }
    }

    pub(crate) fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    pub(crate) fn exists(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::Exists { what, id: id.to_string() }
    }
}
