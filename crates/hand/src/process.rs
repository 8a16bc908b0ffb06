//! Which processes belong to a call, read from `/proc`.
//!
//! A process belongs to the call that runs in a shell when it began after the call did and is a descendant of the
//! shell; or an orphan in the shell's session; or an orphan that left the session but carries the shell's mark in its
//! environment. What descends from a process of an earlier call belongs to that earlier call. So two shells that work
//! at the same time, and servers left in the background before, stay untouched.

use std::collections::HashMap;
use std::fs;

use crate::sys;
use crate::sys::Pid;

/// Variable in the environment of a shell, and so of all it starts, that names its thread.
pub(crate) const MARK: &str = "JOURNEYMAN_THREAD";

/// A moment to tell older processes from newer ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    ticks: u64,
    /// The process id given out last; decides within the tick, which is 10 ms long.
    last_pid: Pid,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    parent: Pid,
    session: Pid,
    began_ticks: u64,
    is_zombie: bool,
}

/// The shell of the call whose processes are wanted.
pub(crate) struct Owner<'a> {
    /// The shell itself, never part of the answer.
    pub(crate) shell: Pid,
    /// Its thread.
    pub(crate) thread: &'a str,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let last_pid = load.split_whitespace().nth(4).and_then(|pid| pid.parse().ok());
        Self { ticks: sys::boot_ticks(), last_pid: last_pid.unwrap_or(Pid::MAX) }
    }

    fn is_before(self, pid: Pid, process: &Process) -> bool {
        // Both clocks are rounded down; two ticks cover the rounding, the order of process ids decides within them.
        if process.began_ticks > self.ticks + 1 {
            return true;
        }
        process.began_ticks + 1 >= self.ticks && pid > self.last_pid
    }
}

/// The living processes of the call that `owner` has run since `since`.
pub(crate) fn of_call(owner: &Owner<'_>, since: Moment) -> Vec<Pid> {
    let processes = all();
    let mut mine: Vec<Pid> = processes
        .iter()
        .filter(|(_, process)| !process.is_zombie)
        .map(|(pid, _)| *pid)
        .filter(|pid| belongs(&processes, *pid, owner, since))
        .collect();
    mine.sort_unstable();
    mine
}

/// Every living descendant of this process.
pub(crate) fn descendants() -> Vec<Pid> {
    let processes = all();
    let own = sys::own_pid();
    let descends = |pid: Pid| ancestors(&processes, pid).any(|ancestor| ancestor == own);
    processes
        .iter()
        .filter(|(pid, process)| !process.is_zombie && descends(**pid))
        .map(|(pid, _)| *pid)
        .collect()
}

fn belongs(processes: &HashMap<Pid, Process>, pid: Pid, owner: &Owner<'_>, since: Moment) -> bool {
    let own = sys::own_pid();
    if pid == owner.shell || pid == own {
        return false;
    }
    let mut top = pid;
    loop {
        let Some(process) = processes.get(&top) else { return false };
        if !since.is_before(top, process) {
            return false;
        }
        if process.parent == owner.shell {
            return true;
        }
        if process.parent == own || !processes.contains_key(&process.parent) {
            // An orphan, or the shell of another thread, whose mark differs.
            return process.session == owner.shell || has_mark(top, owner.thread);
        }
        top = process.parent;
    }
}

fn ancestors(processes: &HashMap<Pid, Process>, pid: Pid) -> impl Iterator<Item = Pid> {
    let parent = |pid: &Pid| processes.get(pid).map(|process| process.parent).filter(|parent| *parent > 0);
    std::iter::successors(parent(&pid), parent)
}

fn has_mark(pid: Pid, thread: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let mark = format!("{MARK}={thread}");
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

fn all() -> HashMap<Pid, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let pid: Pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, one(pid)?))
        })
        .collect()
}

fn one(pid: Pid) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// The fields after the name, which is in parentheses and may hold anything, parentheses too.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Process {
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        began_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 5 6 4 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 777 0";
        let process = parse(stat).unwrap();
        assert_eq!(
            (process.parent, process.session, process.began_ticks, process.is_zombie),
            (5, 4, 777, false)
        );
    }

    #[test]
    fn within_a_tick_the_process_id_decides() {
        let moment = Moment { ticks: 100, last_pid: 40 };
        let process = |began_ticks| Process { parent: 1, session: 1, began_ticks, is_zombie: false };
        assert!(moment.is_before(41, &process(100)));
        assert!(!moment.is_before(40, &process(100)));
        assert!(!moment.is_before(41, &process(50)), "an old process with a high id");
        assert!(moment.is_before(3, &process(102)), "a new process after ids wrapped");
    }
}
