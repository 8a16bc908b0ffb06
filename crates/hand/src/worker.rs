//! Work on files in a forked child, and the pipe on which it answers.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::value::RawValue;

use crate::files;
use crate::files::FileOperation;
use crate::limits::READ_TURN_BYTES;
use crate::limits::WORKER_CPU_SECONDS;
use crate::limits::WORKER_MEMORY_BYTES;
use crate::limits::WORKER_TIME_MAX;
use crate::place::Place;
use crate::protocol::FRAME_BYTES_MAX;
use crate::protocol::operation::FailureKind;
use crate::sys;
use crate::sys::Bounds;
use crate::sys::Pid;
use crate::tools;
use crate::tools::Tool;

/// What a worker does.
pub(crate) enum Task {
    /// A file tool.
    Tool {
        /// Which one.
        tool: Tool,
        /// What it is given.
        input: Arc<RawValue>,
    },
    /// An operation of the server's.
    Files {
        /// Which one.
        operation: FileOperation,
        /// The connection that asked.
        connection: u64,
    },
}

impl Task {
    /// The word that messages begin with.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tool { tool, .. } => tool.name(),
            Self::Files { operation, .. } => operation.name(),
        }
    }

    /// Does it here and now; its answer as JSON.
    fn run(&self, place: &Place, overflow: &Path) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Tool { tool, input } => {
                serde_json::to_vec(&tools::run(*tool, input.get(), place, overflow))
            }
            Self::Files { operation, .. } => serde_json::to_vec(&operation.run(&place.workspace)),
        }
    }
}

/// A running child.
pub(crate) struct Worker {
    /// The call or operation.
    pub(crate) id: String,
    /// Where the answer comes from.
    pub(crate) pipe: File,
    /// When it is ended.
    pub(crate) deadline: Instant,
    task: Task,
    pid: Pid,
    answer: Vec<u8>,
    killed: Option<Stopped>,
}

/// Why there is no answer.
pub(crate) struct Stopped {
    /// The kind of it.
    pub(crate) kind: FailureKind,
    /// The text for a result.
    pub(crate) reason: String,
}

impl Worker {
    /// Starts it. What is too long for the result of a tool goes to `overflow`.
    pub(crate) fn start(
        id: String,
        task: Task,
        place: &Place,
        overflow: &Path,
    ) -> Result<Self, (String, Task, io::Error)> {
        match fork(&task, place, overflow) {
            Ok((pipe, pid)) => {
                let deadline = Instant::now() + WORKER_TIME_MAX;
                Ok(Self { id, pipe, deadline, task, pid, answer: Vec::new(), killed: None })
            }
            Err(error) => Err((id, task, error)),
        }
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
                self.kill(FailureKind::Other, "the result is too large");
                return true;
            }
        }
    }

    /// Ends it; its result will say why.
    pub(crate) fn kill(&mut self, kind: FailureKind, reason: &str) {
        sys::kill(self.pid, Signal::KILL);
        self.killed.get_or_insert_with(|| Stopped { kind, reason: reason.to_owned() });
    }

    /// Ends it because its time is over.
    pub(crate) fn time_out(&mut self) {
        let reason = format!("timed out after {}s", WORKER_TIME_MAX.as_secs());
        self.kill(FailureKind::TimedOut, &reason);
    }

    /// What it did, and the JSON of its answer. For one whose pipe has closed.
    pub(crate) fn close(self, place: &Place) -> (String, Task, Result<Vec<u8>, Stopped>) {
        let Self { id, task, pid, answer, killed, .. } = self;
        if let Task::Files { operation: FileOperation::Write(write), .. } = &task
            && answer.is_empty()
            && let Some(left) = files::temporary(&place.workspace.join(&write.path), pid.unsigned_abs())
        {
            drop(fs::remove_file(left));
        }
        let ended =
            || Stopped { kind: FailureKind::Other, reason: "the worker ended without a result".to_owned() };
        let answer = match killed {
            Some(stopped) => Err(stopped),
            None if answer.is_empty() => Err(ended()),
            None => Ok(answer),
        };
        (id, task, answer)
    }
}

/// Starts the child: the pipe on which it answers, and its process.
fn fork(task: &Task, place: &Place, overflow: &Path) -> io::Result<(File, Pid)> {
    let (pipe, writer) = sys::pipe()?;
    sys::unblock(&pipe)?;
    let bounds = Bounds { cpu_seconds: WORKER_CPU_SECONDS, memory_bytes: WORKER_MEMORY_BYTES };
    let pid = sys::fork(&writer, &bounds, |mut answers| {
        // If nobody listens any more, nobody misses the answer.
        if let Ok(answer) = task.run(place, overflow) {
            drop(answers.write_all(&answer));
        }
    })?;
    Ok((pipe, pid))
}
