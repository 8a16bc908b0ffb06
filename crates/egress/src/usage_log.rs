//! What a session has reached and tried to reach: totals that bound it, and its latest decisions.
//!
//! Every change goes to a file of JSON lines, each of which carries the totals so far, so that the last whole line is the
//! state. A file that has grown is put aside and one former file is kept. What a crash can lose is bounded by
//! [`UNWRITTEN_BYTES_MAX`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use api::ids::SessionId;
use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::decide::How;
use crate::decide::Rule;
use crate::limits::DECISIONS_MAX;
use crate::limits::UNWRITTEN_BYTES_MAX;
use crate::limits::USAGE_LOG_BYTES_MAX;

/// Sums over the life of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections that the sandbox has opened.
    pub connections: u64,
    /// Connections to a host that were allowed and made.
    pub allowed: u64,
    /// Connections and requests that were refused.
    pub refused: u64,
    /// Connections that were allowed but could not be made.
    pub failed: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
}

/// What became of a connection or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Allowed, and connected.
    Allowed,
    /// Refused.
    Refused,
    /// Allowed, but the host could not be reached.
    Failed,
}

/// What a connection speaks, as far as was looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TLS.
    Tls,
    /// HTTP/1.
    Http,
    /// Something else, or nobody looked.
    Other,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place among the session's decisions.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The name or address that was asked for.
    pub host: String,
    /// The address that was connected to or refused.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// How it was asked for.
    pub how: How,
    /// What the connection speaks.
    pub protocol: Protocol,
    /// Bytes that went out so far.
    pub bytes_out: u64,
    /// Bytes that came in so far.
    pub bytes_in: u64,
    /// What became of it.
    #[serde(alias = "outcome")]
    pub verdict: Verdict,
    /// What decided.
    pub rule: Rule,
}

/// A line of the file. A later line about the same decision replaces the earlier one.
#[derive(Debug, Serialize, Deserialize)]
struct Line<E> {
    totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    decision: Option<E>,
}

fn none<E>() -> Option<E> {
    None
}

/// The usage log of one session.
#[derive(Debug)]
pub struct UsageLog {
    state: Mutex<State>,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    unwritten: AtomicU64,
}

#[derive(Debug)]
struct State {
    totals: Totals,
    recent: VecDeque<Entry>,
    numbers: u64,
    folder: PathBuf,
    name: String,
    file: Option<File>,
    file_bytes: u64,
}

impl UsageLog {
    /// Opens the usage log of a session in a folder, going on where it was left.
    pub fn open(folder: &Path, session: &SessionId) -> io::Result<Self> {
        let mut state = State::read_all(folder, session)?;
        state.open()?;
        Ok(Self::new(state))
    }

    /// Reads the usage log of a session that has no sandbox at the moment; `None` when there is none.
    pub fn read(folder: &Path, session: &SessionId) -> io::Result<Option<Self>> {
        let state = State::read_all(folder, session)?;
        Ok(state.current().exists().then(|| Self::new(state)))
    }

    fn new(state: State) -> Self {
        let Totals { bytes_out, bytes_in, .. } = state.totals;
        Self {
            state: Mutex::new(state),
            bytes_out: AtomicU64::new(bytes_out),
            bytes_in: AtomicU64::new(bytes_in),
            unwritten: AtomicU64::new(0),
        }
    }

    /// Removes what is kept of a session.
    pub fn forget(folder: &Path, session: &SessionId) -> io::Result<()> {
        for suffix in ["", ".1"] {
            match std::fs::remove_file(folder.join(format!("{}.jsonl{suffix}", session.as_str()))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Sums so far.
    pub fn totals(&self) -> Totals {
        self.with_bytes(self.lock().totals)
    }

    /// The latest decisions, oldest first, at most `count`.
    pub fn recent(&self, count: usize) -> Vec<Entry> {
        let state = self.lock();
        let skipped = state.recent.len().saturating_sub(count);
        state.recent.iter().skip(skipped).cloned().collect()
    }

    /// Bytes both ways so far.
    pub fn bytes(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed) + self.bytes_in.load(Ordering::Relaxed)
    }

    /// Counts a connection that the sandbox has opened.
    pub(crate) fn count_connection(&self) {
        self.lock().totals.connections += 1;
    }

    /// Counts bytes; returns the sum both ways.
    pub(crate) fn count_bytes(&self, out: u64, r#in: u64) -> u64 {
        let sum_out = self.bytes_out.fetch_add(out, Ordering::Relaxed) + out;
        let sum_in = self.bytes_in.fetch_add(r#in, Ordering::Relaxed) + r#in;
        let unwritten = self.unwritten.fetch_add(out + r#in, Ordering::Relaxed) + out + r#in;
        if unwritten >= UNWRITTEN_BYTES_MAX {
            self.unwritten.store(0, Ordering::Relaxed);
            let mut state = self.lock();
            let totals = self.with_bytes(state.totals);
            state.write(&Line::<&Entry> { totals, decision: None });
        }
        sum_out + sum_in
    }

    /// Adds a decision and returns its number; the entry's own is ignored.
    pub(crate) fn add(&self, mut entry: Entry) -> u64 {
        let mut state = self.lock();
        state.numbers += 1;
        entry.number = state.numbers;
        match entry.verdict {
            Verdict::Allowed => state.totals.allowed += 1,
            Verdict::Refused => state.totals.refused += 1,
            Verdict::Failed => state.totals.failed += 1,
        }
        let totals = self.with_bytes(state.totals);
        state.write(&Line { totals, decision: Some(&entry) });
        let number = entry.number;
        state.remember(entry);
        number
    }

    /// Completes a decision whose connection has ended.
    pub(crate) fn end(&self, number: u64, protocol: Protocol, bytes_out: u64, bytes_in: u64) {
        let mut state = self.lock();
        let totals = self.with_bytes(state.totals);
        let place = state.recent.iter().rposition(|entry| entry.number == number);
        let decision = place.map(|place| {
            let entry = &mut state.recent[place];
            (entry.protocol, entry.bytes_out, entry.bytes_in) = (protocol, bytes_out, bytes_in);
            entry.clone()
        });
        state.write(&Line { totals, decision });
    }

    fn with_bytes(&self, totals: Totals) -> Totals {
        let bytes_out = self.bytes_out.load(Ordering::Relaxed);
        Totals { bytes_out, bytes_in: self.bytes_in.load(Ordering::Relaxed), ..totals }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the files of a session say.
    fn read_all(folder: &Path, session: &SessionId) -> io::Result<Self> {
        let mut state = Self {
            totals: Totals::default(),
            recent: VecDeque::new(),
            numbers: 0,
            folder: folder.to_owned(),
            name: format!("{}.jsonl", session.as_str()),
            file: None,
            file_bytes: 0,
        };
        state.read(&state.former())?;
        state.read(&state.current())?;
        Ok(state)
    }

    fn current(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn former(&self) -> PathBuf {
        self.folder.join(format!("{}.1", self.name))
    }

    /// Takes over what a file says. Lines that a crash has torn are left out.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<Line<Entry>>(&line?) else { continue };
            self.totals = line.totals;
            let Some(entry) = line.decision else { continue };
            self.numbers = self.numbers.max(entry.number);
            match self.recent.iter().rposition(|known| known.number == entry.number) {
                Some(place) => self.recent[place] = entry,
                None => self.remember(entry),
            }
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(self.current())?;
        self.file_bytes = file.metadata()?.len();
        if self.file_bytes > 0 {
            // Whatever a crash has left of a line ends here.
            file.write_all(b"\n")?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn remember(&mut self, entry: Entry) {
        if self.recent.len() >= DECISIONS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(entry);
    }

    /// Appends a line. When the disk refuses it, the session goes on with what is in memory.
    fn write<E: Serialize>(&mut self, line: &Line<E>) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if self.file_bytes >= USAGE_LOG_BYTES_MAX && std::fs::rename(self.current(), self.former()).is_ok() {
            self.file = None;
        }
        if self.file.is_none() && self.open().is_err() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        if file.write_all(&bytes).is_ok() {
            self.file_bytes += bytes.len() as u64;
        }
    }
}
