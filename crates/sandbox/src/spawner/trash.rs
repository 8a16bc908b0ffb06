//! Emptying the trash in a process of its own: a session may leave a million files.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use std::time::Instant;

use super::files;
use super::files::Files;
use super::log;
use super::owners::Owners;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::process::Forked;

/// How long the trash waits to be emptied.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait after something could not be removed.
const RETRY: Duration = Duration::from_mins(1);

/// The removal that runs, if one does.
#[derive(Debug, Default)]
pub(super) struct Trash {
    running: Option<Child>,
    due: Due,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Due {
    /// At the start something may be left from a former spawner.
    #[default]
    Now,
    At(Instant),
    WhenNoted,
}

impl Trash {
    /// Something was put into the trash. It may stay there for a moment: who ends a session often begins another.
    pub(super) fn note(&mut self) {
        if self.due == Due::WhenNoted {
            self.due = Due::At(Instant::now() + PAUSE);
        }
    }

    /// The process to watch.
    pub(super) fn running(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|child| child.fd.as_fd())
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.due {
            Due::At(at) => Some(at),
            Due::Now | Due::WhenNoted => None,
        }
    }

    /// The process has ended.
    pub(super) fn ended(&mut self) {
        let status = self.running.as_ref().map(|child| child.reap(false));
        match status {
            None | Some(Ok(None)) => return,
            Some(Ok(Some(0))) => {}
            Some(Ok(Some(_)) | Err(_)) => self.due = Due::At(Instant::now() + RETRY),
        }
        self.running = None;
    }

    /// Starts a removal if there is reason to and none runs.
    pub(super) fn empty_when_due(&mut self, files: &Files, owners: &Owners) {
        let is_due = match self.due {
            Due::Now => true,
            Due::At(at) => at <= Instant::now(),
            Due::WhenNoted => false,
        };
        if !is_due || self.running.is_some() {
            return;
        }
        self.due = Due::WhenNoted;
        if !files.has_trash() {
            return;
        }
        match owners.fork() {
            Ok(Forked::Parent(child)) => self.running = Some(child),
            Ok(Forked::Child) => process::exit_copy(i32::from(!empty(files))),
            Err(error) => {
                log(&format!("start to empty the trash: {error}"));
                self.due = Due::At(Instant::now() + RETRY);
            }
        }
    }
}

/// Runs in the process of its own.
fn empty(files: &Files) -> bool {
    process::step_back();
    let emptied = process::die_with_parent()
        .and_then(|()| process::close_from(3))
        .and_then(|()| files::empty(files.trash()));
    if let Err(error) = &emptied {
        log(&format!("empty the trash: {error}"));
    }
    emptied.is_ok()
}
