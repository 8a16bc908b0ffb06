//! Descriptors that the outside might have left open.

use crate::probe::Outcome;
use crate::probe::Probe;

/// Rows 11 and 45.
pub(crate) fn probes() -> Vec<Probe> {
    vec![
        Probe::new(11, "descriptors of a command", "0 to 2 only", |_| own()),
        Probe::new(45, "descriptors of every process in sight", "no way to the outside", |_| others()),
        Probe::new(45, "sockets that listen in the sandbox's folders", "none", |_| sockets()),
    ]
}

fn own() -> Outcome {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Outcome::Skipped("/proc/self/fd cannot be read".to_owned());
    };
    // The probe's own: the folder that is being read, and the pipe for its answer.
    let mut pipes = 0;
    let mut further = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if matches!(number.as_str(), "0" | "1" | "2") || target.ends_with("/fd") {
            continue;
        }
        if target.starts_with("pipe:") && pipes == 0 {
            pipes += 1;
            continue;
        }
        further.push(format!("{number} is {target}"));
    }
    if further.is_empty() {
        Outcome::Held("0, 1, 2".to_owned())
    } else {
        Outcome::Escaped(further.join(", "))
    }
}

/// Files in memory that a shell works with: its driver, and the command that it runs.
const SHELL_FILES: [&str; 2] = ["/memfd:driver (deleted)", "/memfd:command (deleted)"];

/// The shell talks to its driver through pipes; a socket, another file in memory or a folder would lead further.
fn others() -> Outcome {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Outcome::Held("none".to_owned()) };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let (mut count, mut found) = (0, Vec::new());
    for id in ids {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{id}/fd")) else { continue };
        for entry in entries.flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            count += 1;
            let is_shells = SHELL_FILES.contains(&target.as_str());
            if target.starts_with("socket:")
                || target.contains("memfd:") && !is_shells
                || target.contains("(unreachable)")
            {
                found.push(format!("{target} of process {id}"));
            }
        }
    }
    if found.is_empty() {
        Outcome::Held(format!("{count} harmless ones"))
    } else {
        Outcome::Escaped(found.join(", "))
    }
}

/// Every Unix socket with a name in this network namespace.
fn sockets() -> Outcome {
    let listed = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let named: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7)).collect();
    if named.is_empty() { Outcome::Held("none".to_owned()) } else { Outcome::Escaped(named.join(", ")) }
}
