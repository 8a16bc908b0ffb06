//! What can go wrong with the life of a sandbox.

use api::ids::SessionId;

use crate::error::chain;

/// A step that failed. It is tried again later; nothing is lost by it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Blob(#[from] store::BlobError),
    #[error("restore the files of session {session}: its checkpoint {key} is damaged")]
    Damaged { session: SessionId, key: String },
    #[error("restore the files of session {session}: this server has no blob store")]
    NoBlobs { session: SessionId },
    #[error("read what the sandbox of session {session} stands on")]
    Root {
        session: SessionId,
        #[source]
        source: serde_json::Error,
    },
    #[error("take the sandbox of session {session}: other nodes were faster {attempts} times")]
    Overtaken { session: SessionId, attempts: u32 },
}

impl Failure {
    /// What a call is told that cannot have its sandbox.
    pub(crate) fn into_sandbox(self, session: &SessionId) -> sandbox::Error {
        let failed = |reason| sandbox::Error::SetUp { session: session.clone(), reason };
        match self {
            Self::Sandbox(error) => error,
            Self::Store(error) => failed(chain(&error)),
            Self::Blob(error) => failed(chain(&error)),
            other @ (Self::Damaged { .. }
            | Self::NoBlobs { .. }
            | Self::Root { .. }
            | Self::Overtaken { .. }) => failed(chain(&other)),
        }
    }
}
