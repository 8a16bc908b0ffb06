//! Reading what a sandbox uses from its groups.

use std::path::Path;
use std::path::PathBuf;

use super::Controller;
use crate::Usage;

/// Reads the group of version 2, and where that does not count, those of version 1.
pub(super) fn read<'a>(unified: Option<&Path>, separate: impl Fn(Controller) -> Option<&'a Path>) -> Usage {
    let first = |name: &str| unified.map(|folder| folder.join(name));
    let second = |controller, name: &str| separate(controller).map(|folder| folder.join(name));
    let number = |file: Option<PathBuf>| file.and_then(|file| whole(&file));
    let counter = |file: Option<PathBuf>, name| file.and_then(|file| named(&file, name));
    Usage {
        memory_bytes: number(first("memory.current"))
            .or_else(|| number(second(Controller::Memory, "memory.usage_in_bytes"))),
        processes: number(first("pids.current")).or_else(|| number(second(Controller::Pids, "pids.current"))),
        // Version 2 counts time in every group, even where version 1 bounds it.
        cpu_micros: counter(first("cpu.stat"), "usage_usec")
            .or_else(|| number(second(Controller::Accounting, "cpuacct.usage")).map(|nanos| nanos / 1000)),
        oom_kills: counter(first("memory.events"), "oom_kill")
            .or_else(|| counter(second(Controller::Memory, "memory.oom_control"), "oom_kill")),
        ..Usage::default()
    }
}

fn whole(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name in a file of such lines.
fn named(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
