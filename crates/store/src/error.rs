//! Errors of the store. Every variant says what was attempted on what.

use std::path::PathBuf;

use api::ids::EventId;
use api::ids::SessionId;

/// The driver's error.
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
        /// Number of sessions that refer to it.
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
        /// The attempt.
        op: &'static str,
        /// The things counted.
        what: &'static str,
        /// Their number.
        size: usize,
        /// The largest number accepted.
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
        /// The attempt.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The target asks for something that this build cannot do.
    #[error("open the database: {what}")]
    Unsupported {
        /// The missing feature, and what to do instead.
        what: String,
    },
    /// A stored value is not what this program wrote.
    #[error("read {what} from the database: unexpected value {value:?}")]
    Corrupt {
        /// The thing read.
        what: &'static str,
        /// The value found.
        value: String,
    },
    /// The database failed.
    #[error("{op}")]
    Database {
        /// The attempt.
        op: String,
        /// The change may have become durable although it was never acknowledged: the connection broke while
        /// it was being committed.
        is_unknown: bool,
        /// The driver's error.
        #[source]
        source: Source,
    },
    /// The store is shutting down, or its writer stopped after the disk failed.
    #[error("{op}: the store has stopped: {reason}")]
    Stopped {
        /// The attempt.
        op: &'static str,
        /// The cause.
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
