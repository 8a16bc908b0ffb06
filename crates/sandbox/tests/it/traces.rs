//! What sandboxes could leave on the host, seen from outside.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::ground::children;
use crate::ground::is_egress;

const GROUPS: &str = "/sys/fs/cgroup";

/// What a spawner and its door to the network hold for their sandboxes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    mounts: usize,
    groups: usize,
    processes: usize,
    /// Descriptors other than user namespaces, which are kept for sandboxes to come.
    fds: usize,
    door_fds: usize,
    network_namespaces: usize,
    left: Vec<String>,
}

impl Traces {
    pub(crate) fn of(spawner: i32, data_dir: &Path) -> Self {
        let processes = children(spawner);
        let door = processes.iter().copied().find(|pid| is_egress(*pid));
        let network = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let network_namespaces = processes.iter().filter_map(network).collect::<BTreeSet<_>>().len();
        Self {
            mounts: mounts(spawner, data_dir),
            groups: groups(data_dir),
            processes: processes.len(),
            fds: descriptors(spawner).into_iter().filter(|target| !target.starts_with("user:")).count(),
            door_fds: door.map_or(0, |pid| descriptors(pid).len()),
            network_namespaces,
            left: left(data_dir),
        }
    }
}

/// The mounts that a spawner has in its data folder. Those elsewhere are the host's, and come and go as it likes.
fn mounts(spawner: i32, data_dir: &Path) -> usize {
    let all = std::fs::read_to_string(format!("/proc/{spawner}/mountinfo")).unwrap();
    all.lines().filter(|line| line.contains(data_dir.to_str().unwrap())).count()
}

/// The user namespaces that a spawner keeps: one for each range of ids that was ever in use at the same time.
pub(crate) fn ranges(spawner: i32) -> usize {
    descriptors(spawner).into_iter().filter(|target| target.starts_with("user:")).count()
}

/// Memory of a process that lies in RAM, in KiB.
pub(crate) fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// How many control groups of sandboxes a data folder has.
pub(crate) fn groups(data_dir: &Path) -> usize {
    groups_below(Path::new(GROUPS), &group_name(data_dir))
}

/// Whatever a data folder whose spawner is no more still has on the host: processes, mounts, control groups.
pub(crate) fn remains(data_dir: &Path) -> Vec<String> {
    let (name, folder) = (group_name(data_dir), data_dir.to_str().unwrap());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let is_ours = [("cgroup", name.as_str()), ("cmdline", folder), ("mountinfo", folder)]
            .into_iter()
            .find(|(file, word)| String::from_utf8_lossy(&read(file)).contains(word));
        if let Some((file, _)) = is_ours {
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            found.push(format!("process {pid} by its {file}: {line}"));
        }
    }
    let groups = groups(data_dir);
    if groups > 0 {
        found.push(format!("{groups} control groups"));
    }
    found
}

/// What lies in the folders that are empty when nothing runs and nothing was kept.
fn left(data_dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["sandboxes", "incoming", "trash", "egress", "layers"] {
        let names = std::fs::read_dir(data_dir.join(folder)).unwrap().flatten();
        let names = names.filter(|entry| entry.file_name() != egress::wire::SOCKET);
        all.extend(names.map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy())));
    }
    all
}

fn group_name(data_dir: &Path) -> String {
    let found = data_dir.metadata().unwrap();
    format!("journeyman-{:x}-{:x}", found.dev(), found.ino())
}

/// Counts the control groups in every group of this name.
fn groups_below(folder: &Path, name: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let folders =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink());
    folders
        .map(|path| {
            if path.ends_with(name) {
                // It may be removed meanwhile.
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                entries.filter(|entry| entry.path().is_dir()).count()
            } else {
                groups_below(&path, name)
            }
        })
        .sum()
}

fn descriptors(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let target = |path: std::path::PathBuf| std::fs::read_link(path).ok();
    entries.filter_map(|entry| target(entry.path())).map(|path| path.to_string_lossy().into_owned()).collect()
}
