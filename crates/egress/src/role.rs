//! The process: takes listeners from the spawner, serves them, and answers servers about them.
//!
//! It ends when the spawner does. What it knows is in the ledgers; everything else comes again with the next start.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use api::ids::SessionId;
use tokio::task::JoinSet;

use crate::confine;
use crate::ledger::Ledger;
use crate::limits::CLIENTS_MAX;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::limits::REPORTED_MAX;
use crate::limits::SESSIONS_MAX;
use crate::packets::Packets;
use crate::serve::serve;
use crate::session::Session;
use crate::session::Settings;
use crate::sys;
use crate::wire::Ask;
use crate::wire::Order;
use crate::wire::Report;

/// Descriptors that the process is started with.
const SPAWNER: i32 = 3;
const LISTENER: i32 = 4;
/// The folder of ledgers, by way of its descriptor.
const STATE: i32 = 5;
const THREADS: usize = 2;
/// Threads that wait for the system's resolver.
const BLOCKING_THREADS_MAX: usize = 64;

/// What the role works with.
#[derive(Debug)]
pub struct Role {
    /// Orders come from here; its end ends the role.
    pub spawner: OwnedFd,
    /// Servers connect here.
    pub listener: OwnedFd,
    /// Where ledgers are.
    pub state: PathBuf,
    /// The user, besides root, whose servers are answered.
    pub peer: Option<u32>,
    /// What all sessions have in common.
    pub settings: Settings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arguments {
    /// The user to become.
    id: Option<u32>,
    peer: Option<u32>,
}

/// The entry of the process: `[--id USER] [--peer USER]`. Descriptor 3 is a socket of messages to the spawner, 4 listens
/// for servers, 5 is the folder for ledgers. Must be called first thing in a process with a single thread.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match begin(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let Arguments { id, peer } = read_arguments(arguments)?;
    // Whatever else was inherited is nobody's business.
    sys::close_from(6)?;
    let (spawner, listener) = (sys::inherited(SPAWNER)?, sys::inherited(LISTENER)?);
    // Kept open to the end, because the path below goes through it.
    let _state = sys::inherited(STATE)?;
    confine::confine(id)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("egress")
        .enable_all()
        .build()?;
    let state = PathBuf::from(format!("/proc/self/fd/{STATE}"));
    let role = Role { spawner, listener, state, peer, settings: Settings::default() };
    let end = runtime.block_on(role.run());
    // A resolver that hangs must not keep the process.
    runtime.shutdown_background();
    end
}

fn read_arguments(arguments: impl IntoIterator<Item = OsString>) -> io::Result<Arguments> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "arguments: [--id USER] [--peer USER]");
    let mut read = Arguments::default();
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.to_str()?.parse().ok());
        match name.to_str() {
            Some("--id") => read.id = Some(value.ok_or_else(wrong)?),
            Some("--peer") => read.peer = Some(value.ok_or_else(wrong)?),
            Some(_) | None => return Err(wrong()),
        }
    }
    Ok(read)
}

/// An open door.
struct Door {
    session: Arc<Session>,
    /// Dropping it ends the door's connections.
    _serving: JoinSet<()>,
}

/// All doors.
#[derive(Default)]
struct Known {
    open: HashMap<SessionId, Door>,
    /// Closed ones whose last connections are still on their way out: two ledgers of one session would disagree.
    closing: HashMap<SessionId, Weak<Session>>,
}

impl Known {
    fn find(&self, session: &SessionId) -> Option<Arc<Session>> {
        let open = self.open.get(session).map(|door| Arc::clone(&door.session));
        open.or_else(|| self.closing.get(session)?.upgrade())
    }

    fn close(&mut self, session: &SessionId) {
        self.closing.retain(|_, closing| closing.strong_count() > 0);
        if let Some(door) = self.open.remove(session) {
            self.closing.insert(session.clone(), Arc::downgrade(&door.session));
        }
    }
}

type Doors = Arc<Mutex<Known>>;

fn lock(doors: &Doors) -> MutexGuard<'_, Known> {
    doors.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Role {
    /// Serves until the spawner has gone.
    pub async fn run(self) -> io::Result<()> {
        let Self { spawner, listener, state, peer, settings } = self;
        let doors = Doors::default();
        let spawner = Packets::new(spawner)?;
        let mut answering = JoinSet::new();
        answering.spawn(answer_servers(Packets::new(listener)?, peer, Arc::clone(&doors), state.clone()));
        loop {
            let (bytes, sockets) = match spawner.receive().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log(&format!("read an order: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let order = match serde_json::from_slice(&bytes) {
                Ok(order) => order,
                Err(error) => {
                    log(&format!("understand an order: {error}"));
                    continue;
                }
            };
            if let Err(error) = obey(order, sockets, &doors, &state, &settings) {
                log(&format!("obey an order: {error}"));
            }
        }
    }
}

fn obey(
    order: Order,
    sockets: Vec<OwnedFd>,
    doors: &Doors,
    state: &Path,
    settings: &Settings,
) -> io::Result<()> {
    let mut known = lock(doors);
    match order {
        Order::Open { session, policy } => {
            let door = match known.find(&session) {
                Some(door) => {
                    door.change(Some(policy.into()));
                    door
                }
                None if known.open.len() >= SESSIONS_MAX => {
                    return Err(io::Error::other("too many sessions"));
                }
                None => Session::open(session.clone(), Some(policy.into()), settings.clone(), state)?,
            };
            // The listeners of a former sandbox end with their door.
            let serving = serve(&door, sockets)?;
            known.open.insert(session, Door { session: door, _serving: serving });
        }
        Order::Change { session, policy } => {
            if let Some(door) = known.open.get(&session) {
                door.session.change(Some(policy.into()));
            }
        }
        Order::Close { session, forget } => {
            known.close(&session);
            if forget {
                known.closing.remove(&session);
                Ledger::forget(state, &session)?;
            }
        }
    }
    Ok(())
}

async fn answer_servers(listener: Packets, peer: Option<u32>, doors: Doors, state: PathBuf) {
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS_MAX {
            clients.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((packets, user)) if user == 0 || Some(user) == peer => {
                    let (doors, state) = (Arc::clone(&doors), state.clone());
                    clients.spawn(async move {
                        if let Err(error) = answer_server(&packets, &doors, &state).await {
                            log(&format!("answer a server: {error}"));
                        }
                    });
                }
                Ok((_, user)) => log(&format!("refused a connection of user {user}")),
                Err(error) => {
                    log(&format!("accept a server: {error}"));
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn answer_server(packets: &Packets, doors: &Doors, state: &Path) -> io::Result<()> {
    while let Some((bytes, _)) = packets.receive().await? {
        let Ask::Report { session } = serde_json::from_slice(&bytes)?;
        let mut report = report(&session, doors, state)?;
        let bytes = loop {
            let bytes = serde_json::to_vec(&report)?;
            match &mut report {
                // The older half goes, until the message is short enough.
                Some(report) if bytes.len() > MESSAGE_BYTES_MAX && !report.recent.is_empty() => {
                    let half = report.recent.len().div_ceil(2);
                    report.recent.drain(..half);
                }
                Some(_) | None => break bytes,
            }
        };
        packets.send(&bytes, &[]).await?;
    }
    Ok(())
}

/// What is known of a session, whether or not its door is open.
fn report(session: &SessionId, doors: &Doors, state: &Path) -> io::Result<Option<Report>> {
    let open = lock(doors).find(session);
    if let Some(open) = open {
        let ledger = open.ledger();
        return Ok(Some(Report {
            totals: ledger.totals(),
            policy: Some(open.policy().as_ref().clone()),
            connections: open.connections(),
            recent: ledger.recent(REPORTED_MAX),
        }));
    }
    let Some(ledger) = Ledger::read(state, session)? else { return Ok(None) };
    let (totals, recent) = (ledger.totals(), ledger.recent(REPORTED_MAX));
    Ok(Some(Report { totals, policy: None, connections: 0, recent }))
}

/// Writes a line to where the spawner has led standard error. There is nobody to tell when that fails.
fn log(line: &str) {
    drop(writeln!(io::stderr(), "egress: {line}"));
}
