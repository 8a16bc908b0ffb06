//! A program that the server runs: its output, its time, and its end.
//!
//! It has ended once its first process has, and what was printed by then is read; processes that it left in the background
//! go on, and what they print is drained. One that is ended before its time is killed with all that it started: TERM, and
//! KILL to whatever is left a moment later.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::limits::ABANDON_GRACE;
use crate::limits::ENDING_TICK;
use crate::limits::KILL_GRACE;
use crate::limits::READ_TURN_BYTES;
use crate::limits::SETTLE_TIME;
use crate::output::Overflow;
use crate::place::Place;
use crate::process;
use crate::process::MARK;
use crate::process::Moment;
use crate::process::Owner;
use crate::protocol::operation::Captured;
use crate::protocol::operation::End;
use crate::protocol::operation::Exec;
use crate::protocol::operation::Exited;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::OUTPUT_BYTES_MAX;
use crate::protocol::operation::PATH_BYTES_MAX;
use crate::protocol::operation::STDIN_BYTES_MAX;
use crate::protocol::operation::Stream;
use crate::protocol::operation::TIME_MS_MAX;
use crate::shell::Drain;
use crate::sys;
use crate::sys::Exit;
use crate::sys::Pid;

/// A running program.
pub(crate) struct Execution {
    /// The operation.
    pub(crate) id: String,
    /// The connection that gets its output as it comes.
    pub(crate) listener: Option<u64>,
    pid: Pid,
    /// What it and all that it starts carries in its environment.
    mark: String,
    began: Moment,
    deadline: Instant,
    outputs: [Output; 2],
    exit: Option<Exit>,
    /// When output that is still held is left to its holders.
    settled_at: Option<Instant>,
    ending: Option<Ending>,
}

/// What a program prints to one of its two outputs.
struct Output {
    pipe: Option<File>,
    tail: VecDeque<u8>,
    tail_bytes_max: usize,
    total: u64,
}

/// The way to an end before its time.
struct Ending {
    end: End,
    kill_at: Instant,
}

impl Execution {
    /// Starts it. `number` tells it from others.
    pub(crate) fn start(id: String, exec: &Exec, number: u64, place: &Place) -> Result<Self, Failure> {
        let program = check(exec)?;
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => FailureKind::NotFound,
                io::ErrorKind::PermissionDenied => FailureKind::Denied,
                io::ErrorKind::InvalidInput => FailureKind::Invalid,
                _ => FailureKind::Other,
            };
            let folder = exec.folder.as_deref().filter(|_| kind == FailureKind::NotFound);
            let place = folder.map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            Failure { kind, message: format!("run {program}{place}: {error}") }
        };
        Self::spawn(id, exec, number, place).map_err(failed)
    }

    fn spawn(id: String, exec: &Exec, number: u64, place: &Place) -> io::Result<Self> {
        let Exec { arguments, folder, variables, stdin, time_ms, output_bytes_max, merges_stderr, .. } = exec;
        let mut input = sys::memory_file("stdin")?;
        input.write_all(stdin)?;
        input.rewind()?;
        let (stdout, stdout_writer) = sys::pipe()?;
        sys::unblock(&stdout)?;
        let (stderr, stderr_writer) = if *merges_stderr {
            (None, stdout_writer.try_clone()?)
        } else {
            let (stderr, writer) = sys::pipe()?;
            sys::unblock(&stderr)?;
            (Some(stderr), writer)
        };
        let mark = format!("exec-{number}");
        let folder =
            folder.as_deref().map_or_else(|| place.folder().to_owned(), |at| place.workspace.join(at));
        let mut command = Command::new(&arguments[0]);
        command.args(&arguments[1..]).current_dir(folder);
        let variables = variables.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(place.environment()).envs(variables).env(MARK, &mark);
        command.stdin(input).stdout(stdout_writer).stderr(stderr_writer);
        let began = Moment::now();
        let pid = sys::spawn(&mut command, &[])?;
        let output = |pipe| Output {
            pipe,
            tail: VecDeque::new(),
            tail_bytes_max: *output_bytes_max as usize,
            total: 0,
        };
        Ok(Self {
            id,
            listener: None,
            pid,
            mark,
            began,
            deadline: Instant::now() + Duration::from_millis(*time_ms),
            outputs: [output(Some(stdout)), output(stderr)],
            exit: None,
            settled_at: None,
            ending: None,
        })
    }

    /// Outputs to watch.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let pipe = |stream: Stream| Some((stream, self.outputs[stream as usize].pipe.as_ref()?.as_fd()));
        [Stream::Stdout, Stream::Stderr].into_iter().filter_map(pipe)
    }

    /// Reads a turn's worth of output, and answers it.
    pub(crate) fn read(&mut self, stream: Stream) -> Vec<u8> {
        self.outputs[stream as usize].read(READ_TURN_BYTES)
    }

    /// Takes note that a process has ended. True if it was the program's own.
    pub(crate) fn on_exit(&mut self, pid: Pid, exit: Exit) -> bool {
        let is_own = pid == self.pid && self.exit.is_none();
        if is_own {
            self.exit = Some(exit);
            self.settled_at = Some(Instant::now() + SETTLE_TIME);
        }
        is_own
    }

    /// Reads what was printed before the program ended.
    pub(crate) fn read_rest(&mut self, stream: Stream) -> Vec<u8> {
        let output = &mut self.outputs[stream as usize];
        let waiting = output.pipe.as_ref().map_or(0, sys::waiting_bytes);
        output.read(waiting)
    }

    /// Begins to end it.
    pub(crate) fn end(&mut self, end: End, now: Instant) {
        if self.ending.is_none() && self.exit.is_none() {
            self.ending = Some(Ending { end, kill_at: now + KILL_GRACE });
            self.signal(Signal::TERM);
        }
    }

    /// Everything inside is about to be killed, for this reason.
    pub(crate) fn expect_end(&mut self, reason: &str) {
        if self.exit.is_none() {
            self.ending = Some(Ending { end: End::Stopped(reason.to_owned()), kill_at: Instant::now() });
        }
    }

    /// When [`Execution::is_over`] is to be asked again.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        match (&self.ending, self.settled_at) {
            (Some(_), _) => now + ENDING_TICK,
            (None, Some(at)) => at,
            (None, None) => self.deadline,
        }
    }

    /// Does what is due. True when it has ended and what it printed is read.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if self.exit.is_none() && now >= self.deadline {
            self.end(End::TimedOut, now);
        }
        if let Some(Ending { kill_at, .. }) = &self.ending {
            if now >= *kill_at {
                self.signal(Signal::KILL);
            }
            return (self.exit.is_some() && self.members().is_empty()) || now >= *kill_at + ABANDON_GRACE;
        }
        let is_held = self.outputs.iter().any(|output| output.pipe.is_some());
        self.settled_at.is_some_and(|at| now >= at || !is_held)
    }

    fn signal(&self, signal: Signal) {
        let own = self.exit.is_none().then_some(self.pid);
        for pid in own.into_iter().chain(self.members()) {
            sys::kill(pid, signal);
            // One that is stopped gets the signal when it goes on.
            sys::kill(pid, Signal::CONT);
        }
    }

    fn members(&self) -> Vec<Pid> {
        process::of_call(&Owner { shell: self.pid, thread: &self.mark }, self.began)
    }

    /// What came of it, and the outputs that others hold, to be drained into files of `folder`.
    pub(crate) fn close(self, folder: &Path) -> (String, Exited, Vec<Drain>) {
        let Self { id, mark, outputs, exit, ending, .. } = self;
        let end = match (ending, exit) {
            (Some(Ending { end, .. }), _) => end,
            (None, Some(Exit::Status(status))) => End::Status(status),
            (None, Some(Exit::Signal(signal))) => End::Signal(signal),
            (None, None) => End::Stopped("the sandbox is ending".to_owned()),
        };
        let mut drains = Vec::new();
        let mut captured = Vec::new();
        for (number, output) in outputs.into_iter().enumerate() {
            let Output { pipe, tail, tail_bytes_max: _, total } = output;
            captured.push(Captured { bytes_total: total, tail: tail.into() });
            let path = folder.join(format!("{mark}-{}.txt", number + 1));
            drains.extend(pipe.map(|pipe| Drain { pipe, overflow: Overflow::new(path), taken: 0 }));
        }
        let mut captured = captured.into_iter();
        let (stdout, stderr) = (captured.next().unwrap_or_default(), captured.next().unwrap_or_default());
        (id, Exited { end, stdout, stderr }, drains)
    }
}

impl Output {
    /// Reads up to `most` bytes that are there.
    fn read(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut length = 0;
        while let Some(pipe) = &mut self.pipe
            && length < most
        {
            match pipe.read(&mut bytes[length..]) {
                Ok(0) => self.pipe = None,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        bytes.truncate(length);
        self.total += length as u64;
        self.tail.extend(&bytes);
        self.tail.drain(..self.tail.len().saturating_sub(self.tail_bytes_max));
        bytes
    }
}

/// Checks the bounds of a request, and answers its program.
fn check(exec: &Exec) -> Result<&str, Failure> {
    let Exec { arguments, folder, stdin, time_ms, output_bytes_max, .. } = exec;
    let invalid = |message: &str| Failure { kind: FailureKind::Invalid, message: message.to_owned() };
    let Some(program) = arguments.first().filter(|program| !program.is_empty()) else {
        return Err(invalid("run a program: none is named"));
    };
    let complain = |what: &str| Err(invalid(&format!("run {program}: {what}")));
    if stdin.len() > STDIN_BYTES_MAX {
        return complain(&format!("{} bytes of input, over {STDIN_BYTES_MAX}", stdin.len()));
    }
    if *time_ms > TIME_MS_MAX {
        return complain(&format!("{time_ms} ms, over {TIME_MS_MAX}"));
    }
    if *output_bytes_max > OUTPUT_BYTES_MAX {
        return complain(&format!("{output_bytes_max} bytes of output, over {OUTPUT_BYTES_MAX}"));
    }
    if folder.as_deref().is_some_and(|folder| folder.as_os_str().len() > PATH_BYTES_MAX) {
        return complain("the path of its folder is too long");
    }
    Ok(program)
}
