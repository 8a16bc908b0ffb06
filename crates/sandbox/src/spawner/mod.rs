//! The spawner: a process of its own that makes and ends sandboxes for a server.
//!
//! It has what privilege the host gives and no secret: its environment is empty, it opens nothing of the server's, and it
//! never reads a byte that a sandbox wrote except the one message that says whether the walls stand. It outlives a killed
//! server, so that the next one can adopt the sandboxes; left alone for some minutes it ends them and itself. Sandboxes
//! never outlive it: each hand is tied to it by a signal and by its control socket.
//!
//! One thread, one loop. Nothing in the loop waits for a sandbox or a client.

mod base;
mod cell;
mod egress;
mod files;
mod given;
pub(crate) mod group;
pub(crate) mod host;
pub(crate) mod launch;
mod mounts;
pub(crate) mod owners;
mod prepare;
mod requests;
mod serve;
mod trash;
mod vacancy;
pub(crate) mod volume;
mod watch;
mod work;

pub use volume::Choice;

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::sys::process;
use crate::sys::process::Forked;
use crate::sys::socket;
use crate::wire;

/// Size from which on the log of former spawners is thrown away.
const LOG_BYTES_MAX: u64 = 1 << 20;

const LOCK_ATTEMPTS_MAX: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How a spawner behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it goes on without a server.
    pub alone_max: Duration,
    /// What bounds the files of sandboxes.
    pub disk: Choice,
}

impl Default for Options {
    fn default() -> Self {
        Self { alone_max: Duration::from_mins(10), disk: Choice::default() }
    }
}

/// Becomes the spawner of the data folder: returns in the process that was started, once the spawner listens in the
/// background or has failed to, with the status to exit with. The reason of a failure goes to standard error.
///
/// Must be called first thing in a process with a single thread.
#[expect(clippy::print_stderr, reason = "the process that started this one reads the reason there")]
pub fn main(data_dir: &Path, options: &Options) -> ExitCode {
    match begin(data_dir, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(data_dir: &Path, options: &Options) -> io::Result<()> {
    process::close_from(3)?;
    let data_dir = data_dir.canonicalize()?;
    std::env::set_current_dir("/")?;
    let (listener, lock) = take(&data_dir)?;
    let spawner = serve::Spawner::new(data_dir.clone(), *options, listener)?;
    match process::fork(0)? {
        // The lock and the socket live on in the copy.
        Forked::Parent(_) => Ok(()),
        Forked::Child => {
            let status = match detach(&data_dir).and_then(|()| spawner.serve()) {
                Ok(()) => 0,
                Err(error) => {
                    log(&format!("the spawner ended: {error}"));
                    1
                }
            };
            drop(lock);
            process::exit_copy(status)
        }
    }
}

/// Makes sure that this is the only spawner of the data folder, and starts to listen.
fn take(data_dir: &Path) -> io::Result<(OwnedFd, File)> {
    let lock = private().create(true).truncate(false).write(true).open(data_dir.join("spawner.lock"))?;
    // One that is just ending holds it a little longer.
    let mut attempts = 0;
    while lock.try_lock().is_err() {
        attempts += 1;
        if attempts == LOCK_ATTEMPTS_MAX {
            return Err(io::Error::other("another spawner serves this data folder"));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok((socket::listen(data_dir, wire::SOCKET)?, lock))
}

/// Opens files that no other account may open: a lock needs no more than that.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Leaves everything of the process that started this one.
fn detach(data_dir: &Path) -> io::Result<()> {
    process::lead_own_session()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // What the last spawner said is what explains why there is a new one.
    let path = data_dir.join("spawner.log");
    let is_long = path.metadata().is_ok_and(|found| found.len() > LOG_BYTES_MAX);
    let log = private().create(true).append(!is_long).truncate(is_long).write(true).open(path)?;
    process::duplicate_onto(null.as_fd(), 0)?;
    process::duplicate_onto(null.as_fd(), 1)?;
    process::duplicate_onto(log.as_fd(), 2)
}

/// Writes a line to the spawner's log. There is nobody to tell when that fails.
fn log(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
