//! The kernel's settings and what it tells about the host.

use std::io::Read;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys;

/// Opened for writing, never written.
const SETTINGS: [&str; 22] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/self/root/proc/sys/kernel/core_pattern",
    "/proc/thread-self/root/proc/sysrq-trigger",
];

/// The same in `/sys`.
const DEVICES: [&str; 9] = [
    "/sys/power/state",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/security/lockdown",
    "/sys/kernel/debug/tracing/trace",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/class/net/lo/mtu",
    "/sys/module/kernel/parameters/panic",
    "/sys/bus/pci/rescan",
];

/// Would tell about the kernel or the host.
const SECRETS: [&str; 15] = [
    "/proc/kcore",
    "/proc/kallsyms",
    "/proc/keys",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/vmallocinfo",
    "/proc/slabinfo",
    "/sys/kernel/vmcoreinfo",
    "/sys/kernel/notes",
];

/// Folders that must be empty, shut or absent.
const FOLDERS: [&str; 6] =
    ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/kernel", "/sys/fs", "/sys/devices/virtual/powercap"];

const ABSENT: [i32; 7] =
    [libc::EROFS, libc::EACCES, libc::EPERM, libc::ENOENT, libc::ENXIO, libc::ENOTDIR, libc::ENODEV];

/// Rows 4, 5 and 41.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for path in SETTINGS.iter().chain(&DEVICES) {
        let attack = |_: &Context| judge(sys::open(path, libc::O_WRONLY), &ABSENT);
        probes.push(Probe::new(4, format!("open {path} for writing"), "EROFS, EACCES or absent", attack));
    }
    for path in SECRETS {
        let attack = move |_: &Context| is_empty(path);
        probes.push(Probe::new(5, format!("read {path}"), "empty or absent", attack));
    }
    for path in FOLDERS {
        let attack = move |_: &Context| is_bare(path);
        probes.push(Probe::new(5, format!("list {path}"), "empty or absent", attack));
    }
    probes.push(Probe::new(41, "write to control groups", "ENOENT or EACCES", |_| control_groups()));
    probes.push(Probe::new(41, "place of the control group", "only the sandbox's own root", |_| place()));
    probes.push(Probe::new(2, "become exempt from the out-of-memory killer", "EACCES", |_| {
        // The write is refused without the privilege for it; with it, it would concern this process only.
        judge(std::fs::write("/proc/self/oom_score_adj", "-1000").map_err(Into::into), &ABSENT)
    }));
    probes
}

fn is_empty(path: &str) -> Outcome {
    let mut file = match sys::open(path, libc::O_RDONLY) {
        Ok(file) => file,
        Err(errno) => return judge::<()>(Err(errno), &ABSENT),
    };
    let mut byte = [0; 1];
    match file.read(&mut byte) {
        Ok(0) => Outcome::Held("empty".to_owned()),
        Ok(_) => Outcome::Escaped("it can be read".to_owned()),
        Err(error) => Outcome::Held(sys::Errno::from(error).to_string()),
    }
}

fn is_bare(path: &str) -> Outcome {
    match std::fs::read_dir(path) {
        Ok(entries) => match entries.flatten().next() {
            None => Outcome::Held("empty".to_owned()),
            Some(entry) => Outcome::Escaped(format!("it holds {}", entry.file_name().to_string_lossy())),
        },
        Err(error) => judge::<()>(Err(error.into()), &ABSENT),
    }
}

fn control_groups() -> Outcome {
    let mut tries = Vec::new();
    for folder in ["", "/memory", "/pids", "/unified", "/systemd", "/devices", "/.."] {
        for file in ["cgroup.procs", "tasks", "release_agent", "notify_on_release", "memory.max"] {
            let path = format!("/sys/fs/cgroup{folder}/{file}");
            let outcome = judge(sys::open(&path, libc::O_WRONLY), &ABSENT);
            tries.push((path, outcome));
        }
    }
    all(tries)
}

/// Paths above the sandbox's own group would tell its name on the host.
fn place() -> Outcome {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let told = groups.lines().find(|line| line.splitn(3, ':').nth(2).is_some_and(|path| path != "/"));
    match told {
        Some(line) => Outcome::Escaped(format!("it is told: {line}")),
        None => Outcome::Held("/".to_owned()),
    }
}
