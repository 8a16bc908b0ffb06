//! One sandbox as the spawner sees it: a process to watch and a socket to send connections to.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Instant;

use api::ids::SessionId;
use hand::protocol::control;

use super::egress::Door;
use super::group::Group;
use super::mounts::Shown;
use super::owners::Range;
use crate::Mount;
use crate::MountTarget;
use crate::sys::process::Child;
use crate::sys::socket;
use crate::wire::Kind;

/// Longest reason that a hand gives for failed walls.
const REASON_BYTES_MAX: usize = 4096;

/// A sandbox.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) child: Child,
    pub(super) control: OwnedFd,
    pub(super) group: Group,
    pub(super) range: Option<Range>,
    /// Its way out.
    pub(super) door: Door,
    /// What it is.
    pub(super) kind: Kind,
    pub(super) is_frozen: bool,
    /// What is mounted in it besides what its hand has mounted.
    pub(super) mounts: BTreeMap<MountTarget, Shown>,
    /// What is to be mounted before it serves.
    pub(super) wanted: Vec<Mount>,
    pub(super) state: State,
}

/// Where a sandbox is in its life.
#[derive(Debug)]
pub(super) enum State {
    /// The walls are being raised, or stand and mounts are being made; these wait for a connection. Over the spare folders
    /// if `is_spare`: those are given to the session once the walls stand.
    Starting { deadline: Instant, waiting: Vec<Waiter>, is_spare: bool, walls_stand: bool },
    /// Calls are served.
    Running,
    /// It was killed and is about to be gone.
    Ending { after: Vec<After> },
}

/// What a hand has said about its walls.
#[derive(Debug)]
pub(super) enum Said {
    /// Nothing yet.
    Nothing,
    /// They stand. The sockets that catch what goes out are attached, if it has a network.
    Ready(Vec<OwnedFd>),
    /// Why they do not.
    Failed(String),
    /// It has gone without a word.
    Gone,
}

/// Who is to be answered: a client and the number of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) client: u64,
    pub(super) number: u64,
}

/// What is to happen when a sandbox is gone.
#[derive(Debug)]
pub(super) enum After {
    /// The waiter is told so.
    Ended { waiter: Waiter, keep_files: bool },
    /// The waiter is told that setting up failed.
    Failed { waiter: Waiter, reason: String },
    /// A new one is made.
    Provision { waiter: Waiter, plan: Plan },
}

/// What a sandbox is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) session: SessionId,
    pub(super) kind: Kind,
    /// What is mounted in it from its start.
    pub(super) mounts: Vec<Mount>,
    pub(super) alive_max: usize,
}

impl Cell {
    /// A new stream to the hand.
    pub(super) fn connect(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) = socket::stream_pair()?;
        socket::send(self.control.as_fd(), &[control::ADOPT], &[theirs.as_fd()])?;
        Ok(ours)
    }

    /// What the hand has said about its walls.
    pub(super) fn said(&self) -> Said {
        said(self.control.as_fd())
    }
}

/// What a hand has said about its walls on its control socket, which it does once.
pub(super) fn said(control: BorrowedFd<'_>) -> Said {
    let mut buffer = [0; REASON_BYTES_MAX];
    let (length, listeners) = match socket::receive(control, &mut buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Said::Nothing,
        // Its end was closed with our specification unread.
        Err(_) => (0, Vec::new()),
    };
    match buffer[..length].split_first() {
        Some((&control::READY, _)) => Said::Ready(listeners),
        Some((&control::FAILED, reason)) => Said::Failed(String::from_utf8_lossy(reason).into_owned()),
        Some(_) => Said::Failed("the hand said something else than whether its walls stand".to_owned()),
        None => Said::Gone,
    }
}
