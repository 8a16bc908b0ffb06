//! Clearing away the groups that a former spawner left, and what still lives in them.
//!
//! Sandboxes die with their spawner. One that was held in a group of version 1 cannot: it is killed here and let go.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::super::log;
use crate::sys::process::Pid;

/// How long the dead may take to leave their group.
const LEAVE_MAX: Duration = Duration::from_secs(2);
const LEAVE_PAUSE: Duration = Duration::from_millis(2);

/// Kills every process in the groups below a parent, held or not.
pub(super) fn end(parent: &Path) {
    groups(parent).for_each(|folder| end_one(&folder));
}

/// Removes the groups below a parent once what was killed in them is gone.
pub(super) fn empty(parent: &Path) {
    let deadline = Instant::now() + LEAVE_MAX;
    for folder in groups(parent) {
        let mut removed = std::fs::remove_dir(&folder);
        while removed.is_err() && Instant::now() < deadline {
            end_one(&folder);
            std::thread::sleep(LEAVE_PAUSE);
            removed = std::fs::remove_dir(&folder);
        }
        if let Err(error) = removed {
            log(&format!("remove control group {}: {error}", folder.display()));
        }
    }
}

fn groups(parent: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// What fails here shows when the group cannot be removed.
fn end_one(folder: &Path) {
    if std::fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    members.lines().filter_map(|line| line.parse().ok()).for_each(kill);
    let state = folder.join("freezer.state");
    if state.exists() {
        drop(std::fs::write(state, "THAWED"));
    }
}

#[expect(unsafe_code, reason = "a process that is not our child has no handle to be killed by")]
fn kill(pid: Pid) {
    // SAFETY: plain numbers. A process that has gone meanwhile is fine.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
