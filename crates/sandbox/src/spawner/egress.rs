//! The process that is the only door to the network: started here, given the listeners of each sandbox, and started anew
//! when it dies. Sandboxes go on meanwhile; their connections wait to be accepted.
//!
//! What a session may reach, and its secrets, go from the server to that process directly: nothing of them is seen here.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use egress::wire::Order;

use super::files;
use super::log;
use super::owners;
use crate::Mode;
use crate::sys::execute;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::socket;

/// How soon one that died is followed by another.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take to end by itself.
const END_MAX_MS: i32 = 1_000;

/// What a sandbox has to do with the network.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The sockets in its network namespace that catch what goes out. None without a network.
    pub(super) listeners: Vec<OwnedFd>,
}

/// The process, and what the next one needs.
#[derive(Debug)]
pub(super) struct Egress {
    arguments: Vec<String>,
    folder: File,
    running: Option<(Child, OwnedFd)>,
    start_at: Instant,
}

impl Egress {
    /// Makes its folder in a data folder. It starts when time passes.
    pub(super) fn open(mode: Mode, data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(egress::wire::FOLDER);
        files::make_folder(&path, 0o700)?;
        let (peer, _) = process::ids();
        let mut arguments = ["journeyman", "egress", "--peer", &peer.to_string()].map(str::to_owned).to_vec();
        if mode == Mode::Root {
            // Nobody else on the host has this id, so nobody else can reach into the process.
            arguments.extend(["--id".to_owned(), owners::EGRESS.to_string()]);
            std::os::unix::fs::chown(&path, Some(owners::EGRESS), Some(owners::EGRESS))?;
        }
        let folder = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Self { arguments, folder, running: None, start_at: Instant::now() })
    }

    /// The process to watch.
    pub(super) fn running(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|(child, _)| child.fd.as_fd())
    }

    /// When the next one starts; `None` while one runs.
    pub(super) fn start_at(&self) -> Option<Instant> {
        self.running.is_none().then_some(self.start_at)
    }

    /// Starts one if it is time to. True when one was started, which knows nothing yet.
    pub(super) fn start_when_due(&mut self) -> bool {
        if self.start_at().is_none_or(|at| at > Instant::now()) {
            return false;
        }
        self.start_at = Instant::now() + PAUSE;
        match self.start() {
            Ok(running) => {
                self.running = Some(running);
                true
            }
            Err(error) => {
                log(&format!("start the egress process: {error}"));
                false
            }
        }
    }

    fn start(&self) -> io::Result<(Child, OwnedFd)> {
        let (control, theirs) = socket::message_pair()?;
        let fds = [theirs.as_fd(), self.folder.as_fd()];
        Ok((execute::this_program(&self.arguments, &fds)?, control))
    }

    /// Its process is over.
    pub(super) fn ended(&mut self) {
        match self.running.as_ref().map(|(child, _)| child.reap(false)) {
            None | Some(Ok(None)) => return,
            Some(Ok(Some(status))) => log(&format!("the egress process ended with {status}")),
            Some(Err(error)) => log(&format!("learn how the egress process ended: {error}")),
        }
        self.running = None;
    }

    /// Ends it, and waits until it is gone: nothing of a spawner that has ended may be left.
    pub(super) fn end(&mut self) {
        let Some((child, control)) = self.running.take() else { return };
        // It ends by itself when nobody talks to it any more.
        drop(control);
        let ended = process::wait_readable(&[child.fd.as_fd()], END_MAX_MS);
        if !ended.is_ok_and(|ready| ready == [true]) {
            drop(child.kill());
        }
        drop(child.reap(true));
    }

    /// Passes on the listeners of a sandbox.
    pub(super) fn admit(&mut self, session: &SessionId, door: &Door) {
        if !door.listeners.is_empty() {
            let fds: Vec<BorrowedFd<'_>> = door.listeners.iter().map(AsFd::as_fd).collect();
            self.tell(&Order::Open { session: session.clone() }, &fds);
        }
    }

    /// The sandbox is no more; nor is the session, if it is to be forgotten.
    pub(super) fn close(&mut self, session: &SessionId, forget: bool) {
        self.tell(&Order::Close { session: session.clone(), forget }, &[]);
    }

    /// One that does not take what it is told is of no use: it is ended, and the next one is told everything.
    fn tell(&mut self, order: &Order, fds: &[BorrowedFd<'_>]) {
        let Some((child, control)) = &self.running else { return };
        let bytes = serde_json::to_vec(order).expect("plain data with text keys becomes JSON");
        if let Err(error) = socket::send(control.as_fd(), &bytes, fds) {
            log(&format!("tell the egress process: {error}"));
            drop(child.kill());
        }
    }
}
