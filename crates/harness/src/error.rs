//! Failures of what the harness is asked for, without a word of HTTP: the server maps them to statuses.

use api::ids::AgentId;
use api::ids::EnvironmentId;
use api::ids::Id;
use api::ids::Kind;
use api::ids::SessionId;
use api::sessions::SessionStatus;
use serde::Deserialize;

/// A failed call of the harness. Nothing of the call took effect.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "always written harness::Error or imported alone")]
pub enum Error {
    /// The request contradicts itself or the object that it is about.
    #[error(transparent)]
    Invalid(#[from] api::errors::Error),
    /// No such object in the workspace.
    #[error("{what} `{id}` was not found")]
    NotFound {
        /// The noun.
        what: &'static str,
        id: String,
    },
    /// No such agent in the workspace, or not at this version.
    #[error("agent `{id}` or its version {version} was not found")]
    VersionNotFound { id: AgentId, version: i64 },
    /// No provider routes the model.
    #[error("{field}: no provider of this server serves `{model}`; GET /v1/models lists what it has")]
    ModelNotServed {
        /// The field that names the model.
        field: &'static str,
        /// Its id, shortened.
        model: String,
    },
    /// A new session names an archived environment.
    #[error("environment_id: Environment {id} is archived and cannot be used in new sessions")]
    EnvironmentArchived { id: EnvironmentId },
    /// The session runs, or is about to.
    #[error(
        "session `{id}` is running and cannot be {attempt}d; send user.interrupt and wait until it is idle"
    )]
    Running {
        /// `archive` or `delete`.
        attempt: &'static str,
        id: SessionId,
    },
    /// The agent of a session changes only while the session is idle.
    #[error("agent: session `{id}` is {status}; wait until it is idle")]
    NotIdle { id: SessionId, status: SessionStatus },
    /// The session is archived or terminated.
    #[error("session `{id}` has ended and takes no more events or changes")]
    Ended { id: SessionId },
    /// A stored object is not what this program wrote.
    #[error("read the stored {what} {id}")]
    Corrupt {
        /// The noun.
        what: &'static str,
        id: String,
        #[source]
        source: serde_json::Error,
    },
    /// The store failed during an attempt on a session.
    #[error("{attempt} session {id}")]
    Session {
        /// A verb.
        attempt: &'static str,
        id: SessionId,
        #[source]
        source: store::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// A request that contradicts the object that it is about.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        api::errors::Error::invalid(message).into()
    }

    /// No such object.
    pub(crate) fn not_found(what: &'static str, id: &impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// A store failure during `attempt` on session `id`.
    pub(crate) fn of_session(attempt: &'static str, id: &SessionId, source: store::Error) -> Self {
        match source {
            store::Error::SessionEnded { .. } => Self::Ended { id: id.clone() },
            store::Error::NotFound { .. } => Self::not_found("session", id),
            store::Error::NotWaiting { call } => {
                Self::invalid(format!("{call} belongs to no call that waits for such an answer"))
            }
            source => Self::Session { attempt, id: id.clone(), source },
        }
    }
}

/// A stored JSON text as what it was written from.
pub fn stored<'a, T: Deserialize<'a>, K: Kind>(
    what: &'static str,
    id: &Id<K>,
    text: &'a str,
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Corrupt { what, id: id.to_string(), source })
}

/// The error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
