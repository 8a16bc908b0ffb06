//! What a process in here may do, and ways to be allowed more.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`, `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`,
/// `CAP_NET_BIND_SERVICE`, `CAP_SYS_CHROOT`: all that root inside has.
const CAPABILITIES: u64 = 0x404fb;
/// Somebody who is not root.
const OTHER: u32 = 1000;
/// A copy of this program, to be given rights that it must not get.
const COPY: &str = "/var/tmp/escape-copy";
/// All that `/dev` holds.
const DEVICES: [&str; 14] = [
    "null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts",
    "shm", "core",
];
const FORBIDDEN_DEVICES: [&str; 19] = [
    "mem",
    "kmem",
    "port",
    "kmsg",
    "sda",
    "vda",
    "nvme0n1",
    "kvm",
    "fuse",
    "net/tun",
    "loop0",
    "loop-control",
    "vsock",
    "vhost-vsock",
    "vhost-net",
    "console",
    "mapper/control",
    "uinput",
    "dri/card0",
];

/// Rows 18 and 19, and the state that the kernel reports.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(23, "system calls are filtered", "Seccomp: 2", |_| status("Seccomp", "2")),
        Probe::new(18, "no new privileges", "NoNewPrivs: 1", |_| status("NoNewPrivs", "1")),
        Probe::new(18, "identity on the host", "not root's", identity),
        Probe::new(18, "a program that belongs to root and has its bit set", "no gain", |_| set_user()),
        Probe::new(18, "a program with capabilities in its file", "no gain", |_| file_capabilities()),
        Probe::new(18, "raise a capability", "EPERM", |_| raise()),
        Probe::new(18, "map the host's root into the sandbox", "EPERM", |_| map_ids()),
        Probe::new(19, "what /dev holds", "the harmless ones", |_| devices()),
    ];
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let attack = move |_: &Context| capabilities(set);
        probes.push(Probe::new(18, format!("capabilities in {set}"), "at most the nine", attack));
    }
    for name in FORBIDDEN_DEVICES {
        let attack = move |_: &Context| {
            let opened = sys::open(&format!("/dev/{name}"), libc::O_RDONLY);
            judge(opened, &[libc::ENOENT, libc::EPERM, libc::EACCES, libc::ENOTDIR])
        };
        probes.push(Probe::new(19, format!("open /dev/{name}"), "ENOENT or EPERM", attack));
    }
    for (name, kind, major, minor) in [
        ("a disk", libc::S_IFBLK, 8, 0),
        ("a virtual disk", libc::S_IFBLK, 254, 0),
        ("memory", libc::S_IFCHR, 1, 1),
        ("the kernel's log", libc::S_IFCHR, 1, 11),
        ("the control of loop devices", libc::S_IFCHR, 10, 237),
    ] {
        let attack = move |_: &Context| node(kind, libc::makedev(major, minor));
        probes.push(Probe::new(19, format!("make the device of {name}"), "EPERM", attack));
    }
    probes
}

fn field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

fn status(name: &str, expected: &str) -> Outcome {
    match field(name) {
        Some(value) if value == expected => Outcome::Held(value),
        Some(value) => Outcome::Escaped(format!("it is {value}")),
        None => Outcome::Escaped("the kernel does not tell".to_owned()),
    }
}

fn capabilities(set: &str) -> Outcome {
    match field(set).map(|value| u64::from_str_radix(&value, 16)) {
        Some(Ok(bits)) if bits & !CAPABILITIES == 0 => Outcome::Held(format!("{bits:x}")),
        Some(Ok(bits)) => Outcome::Escaped(format!("more than the nine: {bits:x}")),
        Some(Err(_)) | None => Outcome::Escaped("the kernel does not tell".to_owned()),
    }
}

/// A map from any id in here to the host's root would make every other wall the last one. Where somebody else runs the
/// server, the map is seen as it is in a namespace of his, whose root he is.
fn identity(context: &Context) -> Outcome {
    all(["uid_map", "gid_map"].map(|file| {
        let map = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let outer = map.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok());
        let outer: Vec<u32> = outer.collect();
        let outcome = if outer.is_empty() || context.user == 0 && outer.contains(&0) {
            Outcome::Escaped(format!("the map is {}", map.trim()))
        } else {
            Outcome::Held(format!("from {outer:?}"))
        };
        (file.to_owned(), outcome)
    }))
}

fn map_ids() -> Outcome {
    all(["self", "1"]
        .iter()
        .flat_map(|process| ["uid_map", "gid_map"].map(|map| format!("/proc/{process}/{map}")))
        .map(|path| {
            let written = std::fs::write(&path, "0 0 1\n").map_err(Into::into);
            (path, judge(written, &[libc::EPERM, libc::EACCES]))
        }))
}

/// A copy of this program that anybody may start.
fn copy() -> std::io::Result<()> {
    std::fs::create_dir_all("/var/tmp")?;
    std::fs::remove_file(COPY).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    std::fs::copy("/proc/self/exe", COPY).map(drop)
}

/// What a copy of this program says about itself when somebody else runs it. Where the map of ids has nobody else, there is
/// nobody who could gain.
fn run_as_other(program: &str, question: &str) -> Result<String, Outcome> {
    let output = Command::new(program).arg(question).uid(OTHER).gid(OTHER).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(Outcome::Escaped(format!("unclear: it could not be run: {}", output.status))),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {
            Err(Outcome::Held("nobody else can be in here".to_owned()))
        }
        Err(error) => Err(Outcome::Escaped(format!("unclear: it could not be run: {error}"))),
    }
}

fn set_user() -> Outcome {
    let prepared =
        copy().and_then(|()| std::fs::set_permissions(COPY, std::fs::Permissions::from_mode(0o6755)));
    if let Err(error) = prepared {
        return Outcome::Held(format!("it cannot be made: {error}"));
    }
    still_other(COPY)
}

/// Whether somebody else who runs a copy of this program that belongs to root stays who he is.
pub(crate) fn still_other(program: &str) -> Outcome {
    match run_as_other(program, "who-am-i") {
        Ok(id) if id == OTHER.to_string() => Outcome::Held(format!("still {id}")),
        Ok(id) => Outcome::Escaped(format!("it ran as {id}")),
        Err(outcome) => outcome,
    }
}

fn file_capabilities() -> Outcome {
    if let Err(error) = copy() {
        return Outcome::Held(format!("it cannot be made: {error}"));
    }
    // Version 2, effective, every capability permitted.
    let mut value = [0; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].fill(0xff);
    value[12..16].fill(0xff);
    let path = CString::new(COPY).expect("a constant without NUL");
    let name = Text(c"security.capability");
    let set =
        sys::call(libc::SYS_setxattr, &mut [Text(&path), name, Bytes(&mut value), Number(20), Number(0)]);
    if let Err(errno) = set {
        return Outcome::Held(errno.to_string());
    }
    std::fs::set_permissions(COPY, std::fs::Permissions::from_mode(0o755)).ok();
    still_powerless(COPY)
}

/// Whether somebody else who runs a copy of this program gets no capability.
pub(crate) fn still_powerless(program: &str) -> Outcome {
    match run_as_other(program, "what-may-i") {
        Ok(bits) if u64::from_str_radix(&bits, 16) == Ok(0) => Outcome::Held("none".to_owned()),
        Ok(bits) => Outcome::Escaped(format!("it ran with {bits}")),
        Err(outcome) => outcome,
    }
}

/// The effective capabilities of this process, for the copy.
pub(crate) fn effective() -> String {
    field("CapEff").unwrap_or_default()
}

/// The effective user of this process, for the copy.
pub(crate) fn user() -> String {
    field("Uid").and_then(|ids| ids.split_whitespace().nth(1).map(str::to_owned)).unwrap_or_default()
}

fn raise() -> Outcome {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&0x2008_0522_u32.to_ne_bytes());
    let mut sets = [0xff; 24];
    judge(sys::call(libc::SYS_capset, &mut [Bytes(&mut header), Bytes(&mut sets)]), &[libc::EPERM])
}

fn devices() -> Outcome {
    let Ok(entries) = std::fs::read_dir("/dev") else { return Outcome::Held("nothing".to_owned()) };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let other: Vec<String> = names.filter(|name| !DEVICES.contains(&name.as_str())).collect();
    if other.is_empty() {
        Outcome::Held("nothing else".to_owned())
    } else {
        Outcome::Escaped(other.join(", "))
    }
}

/// Tried where files are kept and where only memory is.
fn node(kind: u32, device: u64) -> Outcome {
    all(["/tmp", "/dev", "/dev/shm", "/workspace"].map(|folder| {
        let path = format!("{folder}/escape-node");
        let text = CString::new(path.as_str()).expect("a path without NUL");
        let (mode, device) = (Number((kind | 0o600).into()), Number(device.cast_signed()));
        let here = Number(libc::AT_FDCWD.into());
        let result = sys::call(libc::SYS_mknodat, &mut [here, Text(&text), mode, device]);
        if result.is_ok() {
            std::fs::remove_file(&path).ok();
        }
        (folder.to_owned(), judge(result, &[libc::EPERM, libc::EACCES, libc::ENOSPC, libc::ENOENT]))
    }))
}
