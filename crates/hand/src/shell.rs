//! The shell of one thread: a queue of orders, at most one command at a time, and a bash that is replaced when it ends.
//!
//! Invariants: orders end in the order they came; every order ends exactly once; a bash that ends, for whatever reason,
//! is followed by one in the same folder with the same exported variables (and, if it could still save them, its other
//! variables, functions and aliases), and the next result says so.

mod bash;
mod call;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::process::Signal;

pub(crate) use self::call::Drain;

use self::bash::Bash;
use self::call::Call;
use self::call::Reason;
use crate::limits::KILL_GRACE;
use crate::place::Place;
use crate::sys;
use crate::sys::Exit;
use crate::sys::Pid;
use crate::tools::Outcome;
use crate::tools::bash::Order;
use crate::tools::bash::seconds;

/// Result of a call that was cancelled.
pub(crate) const INTERRUPTED: &str = "Tool execution was interrupted before completion. Please retry.";

/// How a shell ended that nobody used.
const IDLE: &str = "was put away while it was idle";
/// What a shell remembers that could save it all.
const EVERYTHING: &str = "variables and functions";
/// Status of a process that was ended by KILL, as shells tell it.
const KILLED: i32 = 128 + libc::SIGKILL;

/// The shell of one thread.
pub(crate) struct Shell {
    thread: String,
    /// Tells its files from those of other shells.
    number: u64,
    bash: Option<Bash>,
    /// Script that brings a new bash to where the last one was.
    state: Vec<u8>,
    /// Whether the bash that runs is still being brought there.
    is_restoring: bool,
    /// What the next result must tell.
    note: Option<String>,
    /// Why bash is about to end, when that is known beforehand.
    doom: Option<String>,
    queue: VecDeque<(String, Order)>,
    call: Option<Call>,
    rung: u64,
    /// Set while an idle bash saves its state and ends: when it is killed if it has not. No call starts meanwhile.
    retiring: Option<Instant>,
    /// When it last had something to do.
    pub(crate) used: Instant,
}

/// A call that has ended.
pub(crate) struct Ended {
    /// The call.
    pub(crate) id: String,
    /// Its result.
    pub(crate) outcome: Outcome,
    /// Output still held by background processes.
    pub(crate) drain: Option<Drain>,
}

impl Ended {
    fn new(id: String, outcome: Outcome) -> Self {
        Self { id, outcome, drain: None }
    }
}

impl Shell {
    /// A shell that will be started when it is needed, where `state` from a former life of the sandbox brings it.
    pub(crate) fn new(thread: String, number: u64, state: Option<Vec<u8>>) -> Self {
        Self {
            thread,
            number,
            bash: None,
            note: state.as_ref().map(|_| put_away()),
            state: state.unwrap_or_default(),
            is_restoring: false,
            queue: VecDeque::new(),
            doom: None,
            call: None,
            rung: 0,
            retiring: None,
            used: Instant::now(),
        }
    }

    /// Takes an order.
    pub(crate) fn enqueue(&mut self, id: String, order: Order) {
        self.queue.push_back((id, order));
    }

    /// Starts what waits, if nothing runs.
    pub(crate) fn start_next(&mut self, place: &Place) -> Vec<Ended> {
        let mut ended = Vec::new();
        while self.call.is_none()
            && self.retiring.is_none()
            && let Some((id, order)) = self.queue.pop_front()
        {
            self.used = Instant::now();
            match order {
                Order::Restart => {
                    self.forget();
                    ended.push(Ended::new(id, Outcome::text("bash session restarted".to_owned())));
                }
                Order::Run { command, time } => {
                    if let Err(error) = self.begin(id.clone(), command, time, place) {
                        let text = format!("bash: the shell could not be started: {error}");
                        ended.push(Ended::new(id, Outcome::error(text)));
                    }
                }
            }
        }
        ended
    }

    fn begin(
        &mut self,
        id: String,
        command: String,
        time: std::time::Duration,
        place: &Place,
    ) -> io::Result<()> {
        let shell = self.ensure_bash(place)?;
        let name = format!("bash-{}-{}", self.number, self.rung + 1);
        self.call = Some(Call::new(id, command, time, &name, shell, &place.scratch)?);
        if !self.is_restoring {
            self.ring();
        }
        Ok(())
    }

    fn ensure_bash(&mut self, place: &Place) -> io::Result<Pid> {
        if let Some(bash) = &self.bash {
            return Ok(bash.pid);
        }
        let bash = self.bash.insert(Bash::start(&self.thread, &format!("bash-{}", self.number), place)?);
        let pid = bash.pid;
        self.is_restoring = !self.state.is_empty();
        if self.is_restoring {
            bash.restore(&self.state)?;
        }
        Ok(pid)
    }

    /// Hands the call to bash. A failure shows as the end of bash.
    fn ring(&mut self) {
        let (Some(bash), Some(call)) = (&mut self.bash, &mut self.call) else { return };
        self.rung += 1;
        call.number = self.rung;
        call.is_rung = true;
        if bash.ring(call.number, call.command.as_bytes(), call.fifo()).is_err() {
            sys::kill(bash.pid, Signal::KILL);
        }
    }

    /// Ends bash, and forgets what it was.
    fn forget(&mut self) {
        if let Some(bash) = self.bash.take() {
            sys::kill(bash.pid, Signal::KILL);
        }
        self.state.clear();
        self.note = None;
        self.is_restoring = false;
    }

    /// Reads reports.
    pub(crate) fn on_reports(&mut self) -> Option<Ended> {
        let bash = self.bash.as_mut()?;
        let Ok(reports) = bash.reports() else {
            sys::kill(bash.pid, Signal::KILL);
            return None;
        };
        let mut ended = None;
        for report in reports {
            if self.is_restoring && report.number == 0 {
                self.is_restoring = false;
                self.ring();
            } else if let Some(call) =
                self.call.as_mut().filter(|call| call.is_rung && call.number == report.number)
            {
                self.state = report.state;
                call.status = Some(report.status.unwrap_or(127));
                if report.status.is_none() {
                    self.note = Some("[the command was not run: its output could not be opened]".to_owned());
                }
                if call.ending.is_none() && call.settle(Instant::now()) {
                    ended = self.finish();
                }
            }
        }
        ended
    }

    /// Reads output.
    pub(crate) fn on_output(&mut self) -> Option<Ended> {
        let call = self.call.as_mut()?;
        call.read();
        let is_over = call.ending.is_none() && call.has_settled(Instant::now());
        if is_over { self.finish() } else { None }
    }

    /// Whether `pid` is its bash.
    pub(crate) fn is_bash(&self, pid: Pid) -> bool {
        self.bash.as_ref().is_some_and(|bash| bash.pid == pid)
    }

    /// Bash is about to be killed, for this reason.
    pub(crate) fn expect_end(&mut self, reason: &str) {
        self.doom = self.bash.as_ref().map(|_| reason.to_owned());
    }

    /// Takes note that its bash has ended.
    pub(crate) fn on_exit(&mut self, exit: Exit, place: &Place) -> Option<Ended> {
        let reported = self.on_reports();
        let bash = self.bash.take()?;
        let was_restoring = std::mem::take(&mut self.is_restoring);
        // One that ended half restored knows less than what it was restored from.
        let saved = bash.last_state().filter(|_| !was_restoring);
        let kept = if saved.is_some() { EVERYTHING } else { "exported variables" };
        self.state = saved.unwrap_or_else(|| std::mem::take(&mut self.state));
        let was_retiring = self.retiring.take().is_some();
        let doom = self.doom.take();
        let how = match exit {
            _ if was_retiring => IDLE.to_owned(),
            Exit::Signal(libc::SIGKILL) if doom.is_some() => {
                format!("was stopped: {}", doom.unwrap_or_default())
            }
            Exit::Status(status) => format!("ended with status {status}"),
            Exit::Signal(libc::SIGKILL) => "was killed, perhaps for want of memory".to_owned(),
            Exit::Signal(signal) => format!("was ended by signal {signal}"),
        };
        self.note = Some(told(&how, kept));
        if reported.is_some() {
            return reported;
        }
        if was_restoring {
            return self.begin_again(place);
        }
        let call = self.call.as_mut()?;
        if call.ending.is_some() || call.status.is_some() {
            return None;
        }
        call.status = Some(match exit {
            Exit::Status(status) => status,
            Exit::Signal(signal) => 128 + signal,
        });
        if call.settle(Instant::now()) { self.finish() } else { None }
    }

    /// The state itself ended the new bash: start another without it.
    fn begin_again(&mut self, place: &Place) -> Option<Ended> {
        if self.call.as_ref().is_none_or(|call| call.ending.is_some()) {
            return None;
        }
        self.state.clear();
        self.note = Some("[the shell was started anew; its earlier state could not be restored]".to_owned());
        match self.ensure_bash(place) {
            Ok(pid) => {
                if let Some(call) = &mut self.call {
                    call.shell = pid;
                }
                self.ring();
                None
            }
            Err(error) => {
                let call = self.call.take()?;
                Some(Ended::new(
                    call.id,
                    Outcome::error(format!("bash: the shell could not be started: {error}")),
                ))
            }
        }
    }

    /// Cancels a call. One that waits ends at once, one that runs as soon as its processes are gone.
    pub(crate) fn cancel(&mut self, id: &str) -> Option<Ended> {
        if let Some(position) = self.queue.iter().position(|(queued, _)| queued == id) {
            self.queue.remove(position);
            return Some(Ended::new(id.to_owned(), Outcome::error(INTERRUPTED.to_owned())));
        }
        let now = Instant::now();
        if let Some(call) = self.call.as_mut().filter(|call| call.id == id) {
            call.end(Reason::Cancel, &self.thread, now);
        }
        None
    }

    /// When it wants [`Shell::on_time`] to be called.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.call.as_ref().map(|call| call.wake_at(now)).or(self.retiring)
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Instant) -> Option<Ended> {
        if let (Some(bash), Some(at)) = (&self.bash, self.retiring)
            && now >= at
        {
            sys::kill(bash.pid, Signal::KILL);
            self.retiring = Some(now + KILL_GRACE);
        }
        let call = self.call.as_mut()?;
        if call.ending.is_none() {
            if call.has_settled(now) {
                return self.finish();
            }
            if call.status.is_none() && now >= call.deadline {
                call.end(Reason::Timeout, &self.thread, now);
            }
            return None;
        }
        let has_returned = call.status.is_some() || self.bash.is_none();
        if !call.advance_ending(&self.thread, has_returned, now) {
            return None;
        }
        if !has_returned {
            // Not even KILL was enough. The process is left to the kernel.
            self.bash = None;
            self.is_restoring = false;
            self.note = Some("[the shell could not be ended and was left; a new one was started]".to_owned());
        }
        self.finish()
    }

    fn finish(&mut self) -> Option<Ended> {
        let mut call = self.call.take()?;
        call.settle(self.used);
        self.used = Instant::now();
        let (id, status, time) = (call.id.clone(), call.status, call.time);
        let reason = call.ending.as_ref().map(|ending| ending.reason);
        let (text, drain) = call.close();
        let mut parts = vec![text.trim_end_matches('\n').to_owned()];
        if let Some(drain) = &drain {
            let path = drain.overflow.path().display();
            parts.push(format!(
                "[background processes hold the output; what they print from now on goes to {path}]"
            ));
        }
        let is_error = match reason {
            Some(Reason::Cancel) => {
                // The note stays for the next result.
                return Some(Ended { id, outcome: Outcome::error(INTERRUPTED.to_owned()), drain });
            }
            Some(Reason::Timeout) => {
                parts.push(format!("bash: bash command timed out after {}s", seconds(time)));
                true
            }
            None => {
                // The shell's own end has a note of its own.
                if status == Some(KILLED) && self.bash.is_some() {
                    parts.push("[killed, perhaps for want of memory]".to_owned());
                }
                status != Some(0)
            }
        };
        parts.extend(self.note.take());
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() {
            parts.push(match status {
                Some(0) | None => "(no output)".to_owned(),
                Some(status) => format!("exit status {status}"),
            });
        }
        let text = parts.join("\n");
        Some(Ended { id, outcome: Outcome { is_error, ..Outcome::text(text) }, drain })
    }

    /// Whether it has a bash and nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.bash.is_some() && self.call.is_none() && self.queue.is_empty() && self.retiring.is_none()
    }

    /// Whether its bash is saving its state and ending.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.is_some()
    }

    /// Its thread, and the script that brings another shell to where it is. `None` while it works, and when there is
    /// nothing to restore.
    pub(crate) fn saved(&self) -> Option<(&str, &[u8])> {
        let is_at_rest = self.bash.is_none() && self.call.is_none() && !self.state.is_empty();
        is_at_rest.then_some((self.thread.as_str(), self.state.as_slice()))
    }

    /// Asks an idle bash to save its state and end.
    pub(crate) fn retire(&mut self, now: Instant) {
        if let Some(bash) = &self.bash {
            sys::kill(bash.pid, Signal::TERM);
            self.retiring = Some(now + KILL_GRACE);
        }
    }

    /// Descriptors to watch: of reports, and of output.
    pub(crate) fn descriptors(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        let reports = self.bash.as_ref().map(|bash| bash.reports.as_fd());
        (reports, self.call.as_ref().and_then(Call::pipe).map(AsFd::as_fd))
    }
}

/// What the next result tells of a shell that has ended.
fn told(how: &str, kept: &str) -> String {
    format!("[the shell {how}; a new one starts in the same directory with the same {kept}]")
}

/// The same of one that was put away in a former life of the sandbox.
fn put_away() -> String {
    told(IDLE, EVERYTHING)
}
