//! Failures as they are told: those of the store to clients, and any with all that caused it.

use api::errors::Error;

/// A store failure during `attempt` on session `id`.
pub(crate) fn wire(attempt: &str, id: &api::ids::SessionId, error: &store::Error) -> Error {
    match error {
        store::Error::SessionEnded { .. } => ended(id),
        store::Error::NotFound { .. } => Error::not_found(format!("session `{id}` was not found")),
        store::Error::NotWaiting { call } => {
            Error::invalid(format!("{call} belongs to no call that waits for such an answer"))
        }
        other => {
            tracing::error!(session.id = %id, error = %other, "{attempt} session {id} failed");
            Error::internal(format!("the server could not {attempt} session `{id}`; see its log"))
        }
    }
}

/// Nothing more can be sent to this session.
pub(crate) fn ended(id: &api::ids::SessionId) -> Error {
    Error::conflict(format!("session `{id}` has ended and takes no more events or changes"))
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
