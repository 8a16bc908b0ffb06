//! What this host offers the embedded back end, what each lack costs, and how to supply it.
//!
//! Whatever can be tried is tried, by the program that would need it, in processes of its own; the rest is read from
//! `/proc`, `/sys` and `/etc`. Nothing on the host is changed.

mod disk;
mod groups;
mod mounts;
mod walls;

use std::fs::File;
use std::path::Path;

use crate::Mode;
use crate::Primitive;
use crate::Report;
use crate::spawner::host;
use crate::spawner::owners::Subordinate;

/// File systems whose mounts can change owners, since kernel 5.19 at the latest.
const MAPPABLE: [&str; 5] = ["ext4", "xfs", "btrfs", "f2fs", "vfat"];

/// Looks at the host; `data_dir` is where sandboxes will keep their files.
pub fn report(data_dir: &Path) -> Report {
    let mode = host::mode();
    let is_root = matches!(mode, Ok(Mode::Root));
    let mut primitives = vec![kernel(), making(&mode)];
    primitives.extend(walls::tried());
    primitives.push(app_armor());
    if is_root {
        primitives.push(mapped_mounts(data_dir));
    } else {
        primitives.push(subordinate_ids());
    }
    primitives.extend(groups::all());
    primitives.extend([
        program("bash"),
        program("python3"),
        disk::bound(data_dir, is_root),
        disk::room(data_dir),
    ]);
    primitives.push(virtual_machines());
    Report { mode: mode.ok(), primitives }
}

fn kernel() -> Primitive {
    let (release, version) = release();
    Primitive {
        name: "kernel",
        present: version >= (5, 19),
        detail: release,
        cost: "mounts with mapped owners and some walls are missing before 5.19",
        remedy: "run kernel 5.19 or newer".to_owned(),
    }
}

fn making(mode: &Result<Mode, host::Unavailable>) -> Primitive {
    let (detail, remedy) = match mode {
        Ok(mode) => (mode.name(), String::new()),
        Err(unavailable) => (unavailable.reason.as_str(), unavailable.remedy.clone()),
    };
    let cost = "no sandbox can be made";
    Primitive { name: "sandboxes", present: mode.is_ok(), detail: detail.to_owned(), cost, remedy }
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
    let (kind, _) = mounts::file_system(data_dir);
    Primitive {
        name: "mounts with mapped owners",
        present: MAPPABLE.contains(&kind.as_str()) || (kind == "tmpfs" && release().1 >= (6, 3)),
        detail: format!("the data folder is on {kind}"),
        cost: "root cannot give each sandbox ids of its own, and makes none",
        remedy: "put the data folder on ext4, xfs or btrfs".to_owned(),
    }
}

/// The kernel's name for itself and its first two numbers.
fn release() -> (String, (u32, u32)) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (release.trim().to_owned(), version)
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
