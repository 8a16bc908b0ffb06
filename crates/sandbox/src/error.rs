//! What can go wrong between a caller and a sandbox.

use std::io;

use api::ids::SessionId;
use hand::protocol::operation::FailureKind;

/// A failure of the sandbox, as opposed to a tool that ran and failed.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "always written sandbox::Error or imported alone")]
pub enum Error {
    /// The sandbox died while the call ran: what the call did is not known.
    #[error("reach the sandbox of session {session}: it died")]
    Lost {
        /// The session whose sandbox it was.
        session: SessionId,
    },
    /// This host cannot make sandboxes with the walls that are required.
    #[error("make a sandbox: {reason}; {remedy}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// How the operator can supply it.
        remedy: String,
    },
    /// As many sandboxes run as are allowed.
    #[error("make a sandbox: {limit} are running, which is the most this server allows")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// Setting up the walls failed.
    #[error("make a sandbox for session {session}: {reason}")]
    SetUp {
        /// The session that it was for.
        session: SessionId,
        /// What the spawner or the hand reported.
        reason: String,
    },
    /// The call's input is larger than a frame may be.
    #[error("run a call in the sandbox of session {session}: its input of {bytes} bytes is too large")]
    TooLarge {
        /// The session whose sandbox it was for.
        session: SessionId,
        /// Size of the frame that was not sent.
        bytes: usize,
    },
    /// More calls are pending than one sandbox may have.
    #[error("run a call in the sandbox of session {session}: too many are pending")]
    Busy {
        /// The session whose sandbox it was for.
        session: SessionId,
    },
    /// This back end cannot do that.
    #[error("{what} is not supported by this back end")]
    Unsupported {
        /// What was wanted.
        what: &'static str,
    },
    /// A program could not be run, or a file not be read, written or listed.
    #[error("{message}")]
    Operation {
        /// The kind of failure.
        kind: FailureKind,
        /// What was attempted inside, on what, and why it failed.
        message: String,
    },
    /// The sandbox answered something that was not asked.
    #[error("{attempt} in a sandbox: it answered something else")]
    Misanswered {
        /// What was attempted.
        attempt: &'static str,
    },
    /// A layer, the files of a session, or what it is given could not be packed, unpacked, moved or shown.
    #[error("{attempt}: {reason}")]
    Layer {
        /// What was attempted, as a verb with its object.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
    /// The spawner could not be started, reached, or understood.
    #[error("{attempt} the spawner")]
    Spawner {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
