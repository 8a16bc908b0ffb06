//! Messages to this process: JSON, one message each. The spawner sends listeners; servers, on a socket of this process's
//! own, send what sessions may do. Neither sees what the other sends.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use api::ids::SessionId;
use serde::Deserialize;
use serde::Serialize;

use crate::grant::Grant;
use crate::policy::Policy;
use crate::sys::socket;
use crate::usage_log::Entry;
use crate::usage_log::Totals;

/// Name of the folder of this process, in the data folder. Nobody but its user and root enters it.
pub const FOLDER: &str = "egress";
/// Name of the socket file, in that folder, on which servers find this process.
pub const SOCKET: &str = "control.sock";

/// Sent by the spawner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// A sandbox is there: its listeners are attached, in the order of [`crate::serve`]. A door that is open already gets
    /// the new listeners instead of the old ones.
    Open {
        /// The session of the sandbox.
        session: SessionId,
    },
    /// The sandbox has ended.
    Close {
        /// The session of the sandbox.
        session: SessionId,
        /// Whether its usage log is to be removed.
        forget: bool,
    },
}

/// Sent by a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What a session has reached.
    Report {
        /// The session.
        session: SessionId,
    },
    /// New connections of the session follow this, whether or not its sandbox is there yet.
    Grant {
        /// The session.
        session: SessionId,
        /// What it may do.
        grant: Arc<Grant>,
    },
    /// The session may do nothing from now on.
    Release {
        /// The session.
        session: SessionId,
    },
    /// The certificate of the session's authority.
    Authority {
        /// The session.
        session: SessionId,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// What a session has reached, if anything is known of it.
    Report {
        /// The report.
        report: Option<Box<Report>>,
    },
    /// It holds from now on.
    Done,
    /// A certificate as PEM.
    Authority {
        /// The certificate.
        certificate: String,
    },
    /// It was not done.
    Failed {
        /// The reason.
        reason: String,
    },
}

/// What a session has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Sums over the life of the session.
    pub totals: Totals,
    /// What it may reach now; `None` when it has no sandbox at the moment, or no grant.
    pub policy: Option<Policy>,
    /// Connections that are open.
    pub connections: u32,
    /// The latest decisions, oldest first.
    pub recent: Vec<Entry>,
}

/// Sends an order, or any message, without waiting, with descriptors attached: at most
/// [`DESCRIPTORS_MAX`](crate::limits::DESCRIPTORS_MAX) of them, in one message of at most
/// [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
    socket::send(socket, bytes, attached)
}
