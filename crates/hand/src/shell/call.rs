//! A command that runs: its output, its time, and how it is brought to an end.
//!
//! Ending goes in steps, each only if the one before was not enough: INT to every process of the call and to the shell,
//! whose trap then saves its state and exits; TERM; KILL; and KILL to the shell itself. Processes of earlier calls are
//! never touched.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::process::Signal;

use crate::limits::ABANDON_GRACE;
use crate::limits::CANCEL_GRACE;
use crate::limits::ENDING_TICK;
use crate::limits::KILL_GRACE;
use crate::limits::READ_TURN_BYTES;
use crate::limits::SETTLE_TIME;
use crate::limits::TIMEOUT_GRACE;
use crate::output::Output;
use crate::output::Overflow;
use crate::process;
use crate::process::Moment;
use crate::process::Owner;
use crate::scratch;
use crate::sys;
use crate::sys::Pid;

/// The command a shell works on.
pub(crate) struct Call {
    /// The call.
    pub(crate) id: String,
    /// Source text.
    pub(crate) command: String,
    /// Time it may take.
    pub(crate) time: Duration,
    /// When it is ended.
    pub(crate) deadline: Instant,
    /// Number it has for the driver.
    pub(crate) number: u64,
    /// Whether the driver was told of it: not while a new shell is still being brought to its old state.
    pub(crate) is_rung: bool,
    /// The shell that runs it; stays when that shell has ended.
    pub(crate) shell: Pid,
    /// Its status, once the driver told.
    pub(crate) status: Option<i32>,
    /// How it is being ended, if it is.
    pub(crate) ending: Option<Ending>,
    /// When a command that has returned is finished even if its output is still held.
    settled_at: Option<Instant>,
    began: Moment,
    fifo: PathBuf,
    pipe: Option<File>,
    output: Output,
}

/// Why a command is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It took too long.
    Timeout,
    /// The server said so.
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Interrupt,
    Terminate,
    Kill,
    KillShell,
}

/// The steps to the end.
pub(crate) struct Ending {
    /// Why.
    pub(crate) reason: Reason,
    step: Step,
    /// When the next step is due.
    next: Instant,
}

/// Output of a finished call that background processes still hold.
pub(crate) struct Drain {
    /// The end to read.
    pub(crate) pipe: File,
    /// Where it goes.
    pub(crate) overflow: Overflow,
    /// Bytes read since the period began.
    pub(crate) taken: usize,
}

impl Call {
    /// Prepares a command; its files are called after `name`.
    pub(crate) fn new(
        id: String,
        command: String,
        time: Duration,
        name: &str,
        shell: Pid,
        folder: &std::path::Path,
    ) -> io::Result<Self> {
        let (fifo, pipe) = scratch::fifo(folder, &format!("{name}.pipe"))?;
        Ok(Self {
            id,
            command,
            time,
            deadline: Instant::now() + time,
            number: 0,
            is_rung: false,
            shell,
            status: None,
            ending: None,
            settled_at: None,
            began: Moment::now(),
            fifo,
            pipe: Some(pipe),
            output: Output::new(folder.join(format!("{name}.txt"))),
        })
    }

    /// Where the driver sends the output.
    pub(crate) fn fifo(&self) -> &std::path::Path {
        &self.fifo
    }

    /// The end to read, unless all writers have gone.
    pub(crate) fn pipe(&self) -> Option<&File> {
        self.pipe.as_ref()
    }

    /// Takes output that is there, one turn's worth.
    pub(crate) fn read(&mut self) {
        // The event may have been for the call before this one; a named pipe that nobody has opened yet reads as ended.
        if self.pipe.as_ref().is_some_and(|pipe| !sys::ready_now(pipe).is_empty()) {
            self.read_bytes(READ_TURN_BYTES);
        }
    }

    fn read_bytes(&mut self, limit: usize) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut chunk = vec![0; limit.min(64 << 10)];
        let mut left = limit;
        while left > 0 {
            let want = left.min(chunk.len());
            match pipe.read(&mut chunk[..want]) {
                Ok(0) => {
                    self.pipe = None;
                    return;
                }
                Ok(count) => {
                    self.output.push(&chunk[..count]);
                    left -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Takes all that was printed before the command returned. True if nobody can print more.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        self.settled_at = Some(now + SETTLE_TIME);
        // Everything printed before the report is in the pipe now; a background process may go on forever.
        let waiting = self.pipe.as_ref().map_or(0, sys::waiting_bytes);
        self.read_bytes(waiting);
        if self.is_held() {
            return false;
        }
        self.read_bytes(READ_TURN_BYTES);
        true
    }

    /// Whether some process can still print.
    pub(crate) fn is_held(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| !sys::ready_now(pipe).contains(PollFlags::HUP))
    }

    /// When the command has returned and there is no more waiting for its output.
    pub(crate) fn has_settled(&self, now: Instant) -> bool {
        self.settled_at.is_some_and(|at| now >= at || self.pipe.is_none())
    }

    /// What was printed, and what is left to drain.
    pub(crate) fn close(self) -> (String, Option<Drain>) {
        let is_held = self.is_held();
        drop(fs::remove_file(&self.fifo));
        let (text, overflow) = self.output.finish();
        let drain = self.pipe.filter(|_| is_held).map(|pipe| Drain { pipe, overflow, taken: 0 });
        (text, drain)
    }

    /// Begins to end it.
    pub(crate) fn end(&mut self, reason: Reason, thread: &str, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let grace = match reason {
            Reason::Timeout => TIMEOUT_GRACE,
            Reason::Cancel => CANCEL_GRACE,
        };
        self.ending = Some(Ending { reason, step: Step::Interrupt, next: now + grace });
        let members = self.members(thread);
        // The shell first: when its child dies it must know already, or it goes on with the next command of the list.
        signal(&[self.shell], Signal::INT);
        signal(&members, Signal::INT);
    }

    /// Goes on with ending it; `has_returned`: the shell is done with it, or gone. True when all is over.
    pub(crate) fn advance_ending(&mut self, thread: &str, has_returned: bool, now: Instant) -> bool {
        let members = self.members(thread);
        let Some(ending) = &mut self.ending else { return false };
        if members.is_empty() && has_returned {
            return true;
        }
        let is_due = now >= ending.next;
        match ending.step {
            Step::Interrupt if is_due => {
                ending.step = Step::Terminate;
                ending.next = now + KILL_GRACE;
                signal(&members, Signal::TERM);
            }
            Step::Terminate if is_due || members.is_empty() => {
                ending.step = Step::Kill;
                ending.next = now + KILL_GRACE;
                signal(&members, Signal::KILL);
            }
            // Once its processes are gone, the shell gets a moment to notice.
            Step::Kill if is_due => {
                ending.step = Step::KillShell;
                ending.next = now + ABANDON_GRACE;
                signal(&[self.shell], Signal::KILL);
            }
            // Again, for those that were started since.
            Step::Kill => signal(&members, Signal::KILL),
            Step::KillShell => {
                signal(&members, Signal::KILL);
                return is_due;
            }
            Step::Interrupt | Step::Terminate => {}
        }
        false
    }

    /// When [`Call::advance_ending`] or the deadline is due.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        match (&self.ending, self.settled_at) {
            (Some(_), _) => now + ENDING_TICK,
            (None, Some(at)) => at,
            (None, None) => self.deadline,
        }
    }

    fn members(&self, thread: &str) -> Vec<Pid> {
        process::of_call(&Owner { shell: self.shell, thread }, self.began)
    }
}

fn signal(processes: &[Pid], signal: Signal) {
    for pid in processes {
        sys::kill(*pid, signal);
        // One that is stopped gets the signal when it goes on.
        sys::kill(*pid, Signal::CONT);
    }
}
