//! A file tool at work: a forked child and the pipe on which it answers.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::limits::READ_TURN_BYTES;
use crate::limits::WORKER_CPU_SECONDS;
use crate::limits::WORKER_MEMORY_BYTES;
use crate::limits::WORKER_TIME_MAX;
use crate::protocol::FRAME_BYTES_MAX;
use crate::serve::Place;
use crate::sys;
use crate::sys::Bounds;
use crate::sys::Pid;
use crate::tools;
use crate::tools::Outcome;
use crate::tools::Tool;

/// A running file tool.
pub(crate) struct Worker {
    /// The call.
    pub(crate) id: String,
    /// Where the answer comes from.
    pub(crate) pipe: File,
    /// When it is ended.
    pub(crate) deadline: Instant,
    /// What it runs.
    pub(crate) tool: Tool,
    pid: Pid,
    answer: Vec<u8>,
    /// Why it was killed, if it was: the text of its result.
    killed: Option<String>,
}

impl Worker {
    /// Starts it.
    pub(crate) fn start(
        id: String,
        tool: Tool,
        input: &str,
        place: &Place,
        overflow: &Path,
    ) -> io::Result<Self> {
        let (pipe, writer) = sys::pipe()?;
        sys::unblock(&pipe)?;
        let bounds = Bounds { cpu_seconds: WORKER_CPU_SECONDS, memory_bytes: WORKER_MEMORY_BYTES };
        let pid = sys::fork(&writer, &bounds, |mut answers| {
            let outcome = tools::run(tool, input, place, overflow);
            // If nobody listens any more, nobody misses the answer.
            if let Ok(answer) = serde_json::to_vec(&outcome) {
                drop(answers.write_all(&answer));
            }
        })?;
        let deadline = Instant::now() + WORKER_TIME_MAX;
        Ok(Self { id, pipe, deadline, tool, pid, answer: Vec::new(), killed: None })
    }

    /// Reads a part of the answer. True when it is complete.
    pub(crate) fn read(&mut self) -> bool {
        let mut chunk = vec![0; READ_TURN_BYTES];
        loop {
            match self.pipe.read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => self.answer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
            if self.answer.len() >= FRAME_BYTES_MAX {
                self.kill(format!("{}: the result is too large", self.tool.name()));
                return true;
            }
        }
    }

    /// Ends it; its result will say `why`.
    pub(crate) fn kill(&mut self, why: String) {
        sys::kill(self.pid, libc::SIGKILL);
        self.killed.get_or_insert(why);
    }

    /// Ends it because its time is over.
    pub(crate) fn time_out(&mut self) {
        self.kill(format!("{}: timed out after {}s", self.tool.name(), WORKER_TIME_MAX.as_secs()));
    }

    /// The JSON of the outcome, whole: content and `is_error`.
    pub(crate) fn answer(self) -> Result<Vec<u8>, Outcome> {
        match self.killed {
            Some(why) => Err(Outcome::error(why)),
            None if self.answer.is_empty() => {
                Err(Outcome::error(format!("{}: the tool ended without a result", self.tool.name())))
            }
            None => Ok(self.answer),
        }
    }
}
