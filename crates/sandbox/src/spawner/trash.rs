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

/// How long the trash waits for more: who ends a session often begins another, and some file systems make new files slowly
/// right after old ones were removed.
const PAUSE: Duration = Duration::from_secs(2);
/// How long it waits at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long to wait after something could not be removed.
const RETRY: Duration = Duration::from_mins(1);

/// The removal that runs, if one does.
#[derive(Debug, Default)]
pub(super) struct Trash {
    running: Option<Child>,
    due: Due,
    /// When the first thing was put into the trash since it was emptied.
    noted_at: Option<Instant>,
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
    /// Something was put into the trash. It may stay there for a moment.
    pub(super) fn note(&mut self) {
        let now = Instant::now();
        let first = *self.noted_at.get_or_insert(now);
        if self.due != Due::Now {
            self.due = Due::At((now + PAUSE).min(first + PAUSE_MAX));
        }
    }

    /// The process to watch.
    pub(super) fn running(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|child| child.fd.as_fd())
    }

    /// Ends a removal that runs, for the end. The next spawner goes on with it.
    pub(super) fn end(&mut self) {
        if let Some(child) = self.running.take() {
            drop(child.kill().and_then(|()| child.reap(true)));
        }
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
        self.noted_at = None;
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
