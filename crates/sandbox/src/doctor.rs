//! What this host offers the embedded back end, what each lack costs, and how to supply it.
//!
//! Whatever can be tried is tried, by the program that would need it, in processes of its own; the rest is read from
//! `/proc`, `/sys` and `/etc`. Nothing on the host is changed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use hand::confine::Probe;

use crate::HAND;
use crate::Mode;
use crate::Primitive;
use crate::Report;
use crate::spawner::host;
use crate::spawner::owners::Subordinate;
use crate::sys;
use crate::sys::process;

/// File systems whose mounts can change owners, since kernel 5.19 at the latest.
const MAPPABLE: [&str; 5] = ["ext4", "xfs", "btrfs", "f2fs", "vfat"];

/// Looks at the host; `data_dir` is where sandboxes will keep their files.
pub fn report(data_dir: &Path) -> Report {
    let mode = host::mode();
    let is_root = matches!(mode, Ok(Mode::Root));
    let mut primitives = vec![kernel(), making(&mode)];
    primitives.extend(probes());
    primitives.push(app_armor());
    if is_root {
        primitives.push(mapped_mounts(data_dir));
    } else {
        primitives.push(subordinate_ids());
    }
    primitives.extend(["memory", "pids", "cpu"].map(controller));
    primitives.extend([program("bash"), program("python3"), quota(data_dir), virtual_machines()]);
    Report { mode: mode.ok(), primitives }
}

fn kernel() -> Primitive {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Primitive {
        name: "kernel",
        present: version >= (5, 19),
        detail: release.to_owned(),
        cost: "mounts with mapped owners and some walls are missing before 5.19",
        remedy: "run kernel 5.19 or newer".to_owned(),
    }
}

fn making(mode: &Result<Mode, host::Unavailable>) -> Primitive {
    let (detail, remedy) = match mode {
        Ok(Mode::Root) => ("as root, each sandbox with ids of its own", String::new()),
        Ok(Mode::SubordinateIds) => ("unprivileged, with subordinate ids", String::new()),
        Ok(Mode::SingleId) => ("unprivileged, everything inside is one user", String::new()),
        Err(unavailable) => (unavailable.reason.as_str(), unavailable.remedy.clone()),
    };
    let cost = "no sandbox can be made";
    Primitive { name: "sandboxes", present: mode.is_ok(), detail: detail.to_owned(), cost, remedy }
}

fn probes() -> Vec<Primitive> {
    let program = process::sealed_program(HAND);
    let run = |probe: Probe| {
        let program = program.as_ref().map_err(ToString::to_string)?;
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let output = Command::new(path).args(["--probe", probe.name()]).env_clear().output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    };
    Probe::ALL.into_iter().map(|probe| tried(probe, run(probe))).collect()
}

fn tried(probe: Probe, result: Result<String, String>) -> Primitive {
    let (name, cost, remedy) = match probe {
        Probe::UserNamespaces => (
            "user namespaces",
            "only root can make sandboxes",
            "see `sandboxes`; usual reasons are an AppArmor profile, a sysctl, or a container's own filter",
        ),
        Probe::Overlay => (
            "overlay in a user namespace",
            "only root can make sandboxes",
            "run kernel 5.11 or newer with CONFIG_OVERLAY_FS, and load the module `overlay`",
        ),
        Probe::Seccomp => ("seccomp", "no sandbox can be made", "run a kernel with CONFIG_SECCOMP_FILTER"),
        Probe::Landlock => (
            "Landlock",
            "one wall fewer behind the others; nothing depends on it yet",
            "run kernel 5.13 or newer with CONFIG_SECURITY_LANDLOCK and `landlock` in its list of security modules",
        ),
    };
    let present = result.is_ok();
    let detail = result.unwrap_or_else(|reason| reason);
    Primitive { name, present, detail, cost, remedy: remedy.to_owned() }
}

fn app_armor() -> Primitive {
    let setting = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let is_restricted = std::fs::read_to_string(setting).is_ok_and(|text| text.trim() == "1");
    Primitive {
        name: "AppArmor lets users make namespaces",
        present: !is_restricted,
        detail: if is_restricted { "restricted" } else { "not restricted" }.to_owned(),
        cost: "only root, or a program with a profile, can make sandboxes",
        remedy: "install a profile with `userns,` for this program, or set \
                 kernel.apparmor_restrict_unprivileged_userns to 0"
            .to_owned(),
    }
}

fn mapped_mounts(data_dir: &Path) -> Primitive {
    let (kind, _) = file_system(data_dir);
    Primitive {
        name: "mounts with mapped owners",
        present: MAPPABLE.contains(&kind.as_str()) || (kind == "tmpfs" && kernel_is_at_least_6_3()),
        detail: format!("the data folder is on {kind}"),
        cost: "root cannot give each sandbox ids of its own, and makes none",
        remedy: "put the data folder on ext4, xfs or btrfs".to_owned(),
    }
}

fn kernel_is_at_least_6_3() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 3)
}

fn subordinate_ids() -> Primitive {
    let found = Subordinate::find();
    Primitive {
        name: "subordinate ids",
        present: found.is_some(),
        detail: found.map_or_else(|| "none that can be used".to_owned(), |found| found.to_string()),
        cost: "everything inside is one user; packages that make users cannot be installed",
        remedy:
            "install `uidmap` and run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`"
                .to_owned(),
    }
}

/// Whether groups with this controller can be made: on version 2 below a group that we may write to, on version 1 in the
/// controller's own tree.
fn controller(name: &'static str) -> Primitive {
    let mounts = mounts();
    let has = |text: &str, by: char| text.split(by).any(|word| word.trim() == name);
    let unified = mounts.iter().find(|mount| mount.kind == "cgroup2").map(|mount| mount.place.clone());
    let in_unified = unified.filter(|place| {
        let controllers = std::fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
        has(&controllers, ' ') && sys::is_writable(&place.join("cgroup.subtree_control"))
    });
    let separate = mounts
        .iter()
        .find(|mount| mount.kind == "cgroup" && has(&mount.options, ',') && sys::is_writable(&mount.place));
    let (present, detail) = match (in_unified, separate) {
        (Some(place), _) => (true, format!("version 2 in {}", place.display())),
        (None, Some(mount)) => (true, format!("version 1 in {}", mount.place.display())),
        (None, None) => (false, "none that can be written to".to_owned()),
    };
    let (name, cost) = match name {
        "memory" => ("control group: memory", "memory is bounded per process only, not per sandbox"),
        "pids" => ("control group: pids", "processes are bounded per user inside only"),
        _ => ("control group: cpu", "a sandbox can take every processor"),
    };
    let remedy = "run the server as a systemd service with `Delegate=yes`, or as root".to_owned();
    Primitive { name, present, detail, cost, remedy }
}

fn program(name: &'static str) -> Primitive {
    let path = ["/usr/local/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
    let found = path.iter().find(|path| path.exists());
    let (name, cost) = match name {
        "bash" => ("bash", "the bash tool does not work in host mode"),
        _ => ("python3", "agents lack the language they use most"),
    };
    Primitive {
        name,
        present: found.is_some(),
        detail: found.map_or_else(|| "not in /usr".to_owned(), |path| path.display().to_string()),
        cost,
        remedy: format!("install {name}, or give sandboxes a root file system of their own"),
    }
}

fn quota(data_dir: &Path) -> Primitive {
    let (kind, options) = file_system(data_dir);
    let has_projects = options.split(',').any(|option| option == "prjquota" || option == "pquota");
    let present = kind == "btrfs" || has_projects;
    let detail =
        if present { format!("{kind} ({options})") } else { format!("{kind} without project quota") };
    Primitive {
        name: "disk quota",
        present,
        detail,
        cost: "a sandbox can fill the file system of the data folder",
        remedy: "put the data folder on btrfs, or on ext4 or xfs mounted with `prjquota`".to_owned(),
    }
}

fn virtual_machines() -> Primitive {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    Primitive {
        name: "/dev/kvm",
        present: opened.is_ok(),
        detail: opened.map_or_else(|error| error.to_string(), |_| "can be opened".to_owned()),
        cost: "none: the embedded back end does not use virtual machines",
        remedy: "enable virtualisation, and add the user to the group `kvm`".to_owned(),
    }
}

struct Mount {
    place: PathBuf,
    kind: String,
    options: String,
}

/// Everything that is mounted, in the order of mounting.
fn mounts() -> Vec<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let read = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let place = before.split(' ').nth(4)?.into();
        Some(Mount { place, kind: after.next()?.to_owned(), options: after.nth(1)?.to_owned() })
    };
    table.lines().filter_map(read).collect()
}

/// Kind and options of the file system that a folder is on.
fn file_system(folder: &Path) -> (String, String) {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = mounts();
    let under = mounts.into_iter().filter(|mount| folder.starts_with(&mount.place));
    let nearest = under.max_by_key(|mount| mount.place.components().count());
    nearest.map_or_else(|| ("unknown".to_owned(), String::new()), |mount| (mount.kind, mount.options))
}
