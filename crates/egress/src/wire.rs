//! Messages of the spawner to this process, and of servers: JSON, one message each.

use std::io;
use std::os::fd::BorrowedFd;

use api::ids::SessionId;
use serde::Deserialize;
use serde::Serialize;

use crate::ledger::Entry;
use crate::ledger::Totals;
use crate::policy::Policy;
use crate::sys::socket;

/// Name of the socket file, in the data folder, on which servers find this process.
pub const SOCKET: &str = "egress.sock";

/// What the spawner says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// A sandbox is there: its listeners are attached, in the order of [`crate::serve`]. A door that is open already gets
    /// the new listeners instead of the old ones.
    Open {
        /// Whose sandbox.
        session: SessionId,
        /// What it may reach.
        policy: Policy,
    },
    /// New connections of the session follow another policy.
    Change {
        /// Whose.
        session: SessionId,
        /// What it may reach.
        policy: Policy,
    },
    /// The sandbox has ended.
    Close {
        /// Whose.
        session: SessionId,
        /// Whether its ledger is to be removed.
        forget: bool,
    },
}

/// What a server asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// What a session has reached. Answered by an `Option<Report>`.
    Report {
        /// Whose.
        session: SessionId,
    },
}

/// What a session has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Sums over the life of the session.
    pub totals: Totals,
    /// What it may reach now; `None` when it has no sandbox at the moment.
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
