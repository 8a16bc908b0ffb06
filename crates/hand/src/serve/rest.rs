//! The rest of the shells: what they know goes to a file, so that it outlives this process, and comes back when a thread's
//! shell is first used again.
//!
//! The file lies among the files of the sandbox, where the agent can change it: it is read as what a stranger wrote. The
//! states in it are scripts for shells that run as the same user, so nothing is gained by a changed one.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::Serialize;

use super::Server;
use crate::limits::REST_TIME;
use crate::limits::SAVED_BYTES_MAX;
use crate::protocol::Response;
use crate::scratch;

/// Bytes of the file besides the states, for each of them.
const SLACK_BYTES: usize = 64;

/// What the shells of a former life knew, and the rest that is under way.
pub(super) struct Rest {
    path: PathBuf,
    /// States that no shell has taken yet, by thread. `None`: the file was not read yet.
    former: Option<BTreeMap<String, Vec<u8>>>,
    /// When the rest under way ends, whoever has not saved its state.
    deadline: Option<Instant>,
    /// Whether a shell was put away since the file was written.
    is_stale: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    /// States in base64, by thread.
    shells: BTreeMap<String, String>,
}

impl Rest {
    /// Nothing yet; what there is from before lies at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, former: None, deadline: None, is_stale: false }
    }

    /// The state of a former shell of `thread`, which is no longer kept here.
    pub(super) fn take(&mut self, thread: &str) -> Option<Vec<u8>> {
        self.former().remove(thread)
    }

    /// Takes note that a shell has ended.
    pub(super) fn note(&mut self, was_put_away: bool) {
        self.is_stale |= was_put_away;
    }

    /// When the rest under way ends at the latest.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.deadline
    }

    fn former(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        // One that cannot be read is as good as none.
        self.former.get_or_insert_with(|| read(&self.path).unwrap_or_default())
    }
}

impl Server {
    /// Puts every idle shell away.
    pub(super) fn begin_rest(&mut self, connection: usize) {
        let now = Instant::now();
        self.connections[connection].awaits_rest = true;
        self.rest.deadline.get_or_insert(now + REST_TIME);
        for shell in self.shells.iter_mut().filter(|shell| shell.is_idle()) {
            shell.retire(now);
        }
    }

    /// Writes down what shells that were put away know, and ends a rest that has come to its end.
    pub(super) fn end_rest(&mut self, now: Instant) {
        let is_waiting = self.shells.iter().any(super::Shell::is_retiring);
        if self.rest.deadline.is_some_and(|deadline| is_waiting && now < deadline) {
            return;
        }
        let is_over = self.rest.deadline.take().is_some();
        if is_over || std::mem::take(&mut self.rest.is_stale) {
            // Without room for it the next life begins with fresh shells, as it does without a rest.
            drop(self.save());
        }
        for index in 0..self.connections.len() {
            if is_over && std::mem::take(&mut self.connections[index].awaits_rest) {
                self.answer(index, &Response::Rested);
            }
        }
    }

    fn save(&mut self) -> io::Result<()> {
        self.rest.is_stale = false;
        let former = self.rest.former().clone();
        let mut shells: Vec<&super::Shell> = self.shells.iter().collect();
        shells.sort_by_key(|shell| std::cmp::Reverse(shell.used));
        let own = shells.iter().filter_map(|shell| shell.saved());
        let states = own.chain(former.iter().map(|(thread, state)| (thread.as_str(), state.as_slice())));
        let mut saved = Saved { shells: BTreeMap::new() };
        let mut bytes = 0;
        for (thread, state) in states {
            let state = BASE64_STANDARD.encode(state);
            let size = thread.len() + state.len() + SLACK_BYTES;
            if bytes + size <= SAVED_BYTES_MAX {
                bytes += size;
                saved.shells.insert(thread.to_owned(), state);
            }
        }
        if saved.shells.is_empty() && !self.rest.path.exists() {
            return Ok(());
        }
        write(&self.rest.path, &serde_json::to_vec(&saved)?)
    }
}

fn read(path: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    if file.metadata().ok()?.is_file() {
        file.take(SAVED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    }
    if bytes.len() > SAVED_BYTES_MAX {
        return None;
    }
    let Saved { shells } = serde_json::from_slice(&bytes).ok()?;
    let decoded = shells.into_iter().map(|(thread, state)| {
        let state = BASE64_STANDARD.decode(state).ok()?;
        Some((thread, state))
    });
    decoded.collect()
}

/// Writes the whole file or nothing.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = scratch::create(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}
