//! The network of sandboxes in containers: the process that is their only door to it, started here, given the listeners of
//! each container and, by its own channel, what sessions may reach, and started anew when it dies. Connections wait
//! meanwhile.
//!
//! It ends with this server. The hands keep their listeners and give them to the next one.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use api::ids::SessionId;
use egress::Channel;
use egress::Grant;
use egress::Policy;
use egress::wire::Order;
use tokio::process::Child;

use super::Config;
use super::lock;
use crate::spawner::owners;
use crate::sys::execute;
use crate::sys::process;
use crate::sys::socket;
use crate::task::Task;

/// How soon one that died is followed by another.
const PAUSE: Duration = Duration::from_millis(100);

/// The process, and what the next one needs.
#[derive(Debug)]
pub(super) struct Network {
    program: PathBuf,
    data_dir: PathBuf,
    state: Arc<Mutex<State>>,
    keeper: Mutex<Option<Task>>,
    channel: Channel,
}

#[derive(Debug, Default)]
struct State {
    /// The listeners of each container.
    doors: HashMap<SessionId, Vec<OwnedFd>>,
    /// To the process that runs.
    control: Option<OwnedFd>,
}

/// What a process is started with.
struct Parts {
    arguments: Vec<String>,
    folder: File,
}

impl Network {
    pub(super) fn new(config: &Config) -> Self {
        let (program, data_dir) = (config.program.clone(), config.data_dir.clone());
        let channel = Channel::open(&data_dir);
        Self { program, data_dir, state: Arc::default(), keeper: Mutex::default(), channel }
    }

    /// Tells the process, which is started if none runs, what a session may reach from now on.
    pub(super) async fn grant(&self, session: &SessionId, policy: &Arc<Policy>) -> io::Result<()> {
        self.begin()?;
        let granted = self.channel.grant(session, Arc::new(Grant::from(Arc::clone(policy)))).await;
        granted.map_err(io::Error::other)
    }

    /// Lets the connections of a container out, as far as its session may.
    pub(super) fn admit(&self, session: &SessionId, listeners: Vec<OwnedFd>) -> io::Result<()> {
        {
            let mut state = lock(&self.state);
            state.doors.insert(session.clone(), listeners);
            state.open(session);
        }
        self.begin()
    }

    /// The session reaches nothing any more: its container is to end.
    pub(super) fn release(&self, session: &SessionId) {
        self.channel.release(session);
    }

    /// Keeps a process running from now on.
    fn begin(&self) -> io::Result<()> {
        let mut keeper = lock(&self.keeper);
        if keeper.is_none() {
            let parts = self.parts()?;
            *keeper = Some(Task::start(keep(self.program.clone(), parts, Arc::clone(&self.state))));
        }
        Ok(())
    }

    /// The container has ended; the session too, if it is to be forgotten.
    pub(super) fn close(&self, session: &SessionId, forget: bool) {
        let mut state = lock(&self.state);
        if state.doors.remove(session).is_some() || forget {
            state.tell(&Order::Close { session: session.clone(), forget }, &[]);
        }
    }

    fn parts(&self) -> io::Result<Parts> {
        let path = self.data_dir.join(egress::wire::FOLDER);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let (own, _) = process::ids();
        let mut arguments = ["egress", "--peer", &own.to_string()].map(str::to_owned).to_vec();
        if own == 0 {
            // Nobody else on the host has this id, so nobody else can reach into the process.
            arguments.extend(["--id".to_owned(), owners::EGRESS.to_string()]);
            std::os::unix::fs::chown(&path, Some(owners::EGRESS), Some(owners::EGRESS))?;
        }
        let folder = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Parts { arguments, folder })
    }
}

impl State {
    fn open(&self, session: &SessionId) {
        let Some(listeners) = self.doors.get(session) else { return };
        let fds: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        self.tell(&Order::Open { session: session.clone() }, &fds);
    }

    /// One that does not take what it is told is of no use: its orders end, and so does it; the next one is told everything.
    fn tell(&self, order: &Order, fds: &[BorrowedFd<'_>]) {
        let Some(control) = &self.control else { return };
        let bytes = serde_json::to_vec(order).expect("plain data with text keys becomes JSON");
        if let Err(error) = egress::wire::send(control.as_fd(), &bytes, fds) {
            tracing::warn!("tell the egress process: {error}");
            drop(socket::shut(control.as_fd()));
        }
    }
}

/// Keeps a process running for as long as this task lives.
async fn keep(program: PathBuf, parts: Parts, state: Arc<Mutex<State>>) {
    loop {
        match start(&program, &parts) {
            Ok((mut child, control)) => {
                {
                    let mut state = lock(&state);
                    state.control = Some(control);
                    state.doors.keys().for_each(|session| state.open(session));
                }
                let ended = child.wait().await;
                lock(&state).control = None;
                tracing::warn!("the egress process ended: {ended:?}");
            }
            Err(error) => tracing::warn!("start the egress process: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn start(program: &std::path::Path, parts: &Parts) -> io::Result<(Child, OwnedFd)> {
    let (control, theirs) = socket::message_pair()?;
    let fds = [theirs.as_fd(), parts.folder.as_fd()];
    let mut command = tokio::process::Command::new(program);
    command.args(&parts.arguments).env_clear().current_dir("/").stdin(std::process::Stdio::null());
    let raised = execute::hand_down(&mut command, &fds)?;
    let child = command.kill_on_drop(true).spawn();
    drop(raised);
    Ok((child?, control))
}
