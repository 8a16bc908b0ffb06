//! What this host lets a spawner do, found out once at its start.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::group::Groups;
use super::owners::FIRST;
use super::owners::IDS;
use super::owners::RANGES;
use super::owners::Subordinate;
use crate::Mode;
use crate::sys::process;
use crate::sys::process::Forked;

/// Capabilities without which walls cannot be made as root: `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `KILL`, `SETGID`, `SETUID`,
/// `NET_ADMIN`, `SYS_PTRACE` (to reach the namespaces of processes that act as others), `SYS_ADMIN`.
const NEEDED: [u32; 9] = [0, 1, 3, 5, 6, 7, 12, 19, 21];

/// What a hand is born into. It makes its mount namespace when it is told what it is to be, by what is mounted then.
const NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Why no sandbox can be made here.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

/// How sandboxes can be made by this process, as far as can be told without making one.
pub(crate) fn mode() -> Result<Mode, Unavailable> {
    if !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return Err(Unavailable {
            reason: "the kernel has no seccomp filters".to_owned(),
            remedy: "run a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        });
    }
    if is_powerful_root() {
        return Ok(Mode::Root);
    }
    match try_namespaces() {
        Ok(()) if Subordinate::find().is_some() => Ok(Mode::SubordinateIds),
        Ok(()) => Ok(Mode::SingleId),
        Err(error) => Err(Unavailable {
            reason: format!("this user may not make namespaces: {error}"),
            remedy: namespace_remedy(),
        }),
    }
}

/// Kinds of namespace that a hand is started in.
pub(super) fn namespaces(mode: Mode) -> i32 {
    match mode {
        Mode::Root => NAMESPACES,
        Mode::SubordinateIds | Mode::SingleId | Mode::Containers => NAMESPACES | libc::CLONE_NEWUSER,
    }
}

/// The groups of the spawner of this data folder, and a number that tells it from other spawners.
pub(super) fn groups(data_dir: &Path) -> io::Result<(Groups, u64)> {
    let found = data_dir.metadata()?;
    let name = format!("journeyman-{:x}-{:x}", found.dev(), found.ino());
    Ok((Groups::open(&name), found.ino()))
}

/// Whether this process is root, with what that normally brings, and not in a namespace that maps few ids.
fn is_powerful_root() -> bool {
    let (uid, _) = process::ids();
    uid == 0 && NEEDED.iter().all(|one| effective_capabilities() >> one & 1 == 1) && maps_ranges()
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

fn maps_ranges() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        // One more: the egress process has an id of its own.
        let end = u64::from(FIRST) + u64::from(RANGES) * u64::from(IDS) + 1;
        inside <= u64::from(FIRST) && end <= inside + count
    })
}

/// Makes every kind of namespace once, and uses the power that it should give.
fn try_namespaces() -> io::Result<()> {
    match process::fork(NAMESPACES | libc::CLONE_NEWNS | libc::CLONE_NEWUSER)? {
        Forked::Child => {
            let status = process::make_mounts_private().map_err(|error| error.raw_os_error());
            process::exit_copy(status.map_or_else(|errno| errno.unwrap_or(libc::EPERM), |()| 0))
        }
        Forked::Parent(child) => match child.reap(true)? {
            None | Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno.abs())),
        },
    }
}

fn namespace_remedy() -> String {
    let is_set = |name: &str, value: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let program = program.file_name().unwrap_or_else(|| OsStr::new("journeyman")).display().to_string();
    if is_set("kernel/apparmor_restrict_unprivileged_userns", "1") {
        format!(
            "allow it with an AppArmor profile (`profile journeyman /path/to/{program} flags=(unconfined) {{ userns, }}`), \
             or set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or run the server as root"
        )
    } else if is_set("kernel/unprivileged_userns_clone", "0") {
        "set the sysctl kernel.unprivileged_userns_clone to 1, or run the server as root".to_owned()
    } else if is_set("user/max_user_namespaces", "0") {
        "set the sysctl user.max_user_namespaces to 10000, or run the server as root".to_owned()
    } else {
        "run the server as root, or in a container with `--cap-add SYS_ADMIN --security-opt seccomp=unconfined \
         --security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
            .to_owned()
    }
}
