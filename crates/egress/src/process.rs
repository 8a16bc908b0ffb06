//! The process: takes listeners from the spawner, and from servers what their sessions may do.
//!
//! It ends when the spawner does. Ledgers and authorities are in its folder; everything else comes again with the next
//! start.

use std::ffi::OsString;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::confine;
use crate::packets::Packets;
use crate::servers;
use crate::session::Settings;
use crate::sessions::Sessions;
use crate::sys;
use crate::wire::Order;

/// Descriptors that the process is started with.
const SPAWNER: i32 = 3;
/// The process's folder, by way of its descriptor.
const STATE: i32 = 4;
const THREADS: usize = 2;
/// Threads that wait for the system's resolver.
const BLOCKING_THREADS_MAX: usize = 64;

/// What the role works with.
#[derive(Debug)]
pub struct Process {
    /// Orders come from here; its end ends the role.
    pub spawner: OwnedFd,
    /// Where usage logs and authorities are, and the socket for servers.
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

/// The entry of the process: `[--id USER] [--peer USER]`. Descriptor 3 is a socket of messages to the spawner, 4 the
/// folder of this process. Must be called first thing in a process with a single thread.
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
    sys::close_from(5)?;
    let spawner = sys::inherited(SPAWNER)?;
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
    let process = Process { spawner, state, peer, settings: Settings::default() };
    let end = runtime.block_on(process.run());
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

impl Process {
    /// Serves until the spawner has gone.
    pub async fn run(self) -> io::Result<()> {
        let Self { spawner, state, peer, settings } = self;
        let spawner = Packets::new(spawner)?;
        let listener = servers::listen(&state)?;
        let sessions = Arc::new(Sessions::new(state, settings));
        let mut answering = JoinSet::new();
        answering.spawn(servers::answer(listener, peer, Arc::clone(&sessions)));
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
            let done = match serde_json::from_slice(&bytes) {
                Ok(Order::Open { session }) => sessions.open(session, sockets),
                Ok(Order::Close { session, forget }) => sessions.close(&session, forget),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                log(&format!("handle an order: {error}"));
            }
        }
    }
}

/// Writes a line to where the spawner has led standard error. There is nobody to tell when that fails.
pub(crate) fn log(line: &str) {
    drop(writeln!(io::stderr(), "egress: {line}"));
}
