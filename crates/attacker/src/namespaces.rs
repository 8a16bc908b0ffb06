//! Namespaces: new ones, other ones, and whether the ones we are in are our own.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;
use crate::sys::Errno;

const CLONE_NEWTIME: i32 = 0x80;
/// Every kind, by the name that it has in `/proc/PID/ns`.
const KINDS: [(&str, i32); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", CLONE_NEWTIME),
];
const SHUT: [i32; 4] = [libc::EPERM, libc::ENOSYS, libc::EACCES, libc::ENOSPC];

/// Rows 7 to 9, and 34.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for (name, kind) in KINDS {
        let unshare =
            move |_: &Context| judge(sys::call(libc::SYS_unshare, &mut [Number(kind.into())]), &SHUT);
        probes.push(Probe::new(7, format!("unshare, {name}"), "EPERM, ENOSYS or ENOSPC", unshare));
        if kind != CLONE_NEWTIME {
            let clone = move |_: &Context| judge(clone(kind), &SHUT);
            probes.push(Probe::new(7, format!("clone, {name}"), "EPERM, ENOSYS or ENOSPC", clone));
        }
        let clone3 = move |_: &Context| judge(clone3(kind), &SHUT);
        probes.push(Probe::new(7, format!("clone3, {name}"), "EPERM, ENOSYS or ENOSPC", clone3));
        let enter = move |_: &Context| enter(name, kind);
        probes.push(Probe::new(8, format!("setns, {name}"), "EPERM or EACCES", enter));
    }
    probes.push(Probe::new(7, "limit of nested user namespaces", "0", |_| limit()));
    probes.push(Probe::new(8, "setns by the descriptor of process 1", "EPERM", |_| enter_by_process()));
    probes.push(Probe::new(8, "pidfd_getfd of process 1", "EPERM", |_| take_descriptor()));
    probes.push(Probe::new(9, "chroot and climb", "ends at the sandbox's root", climb));
    for (name, _) in KINDS.into_iter().filter(|(name, _)| *name != "time") {
        let attack = move |context: &Context| is_own(context, name);
        probes.push(Probe::new(
            34,
            format!("namespace of its own, {name}"),
            "another one than the host's",
            attack,
        ));
    }
    probes.push(Probe::new(34, "shared memory, queues and semaphores of the host", "none is listed", |_| {
        ipc()
    }));
    probes
}

fn clone(kind: i32) -> Result<i64, Errno> {
    let flags = i64::from(kind | libc::SIGCHLD);
    let child = sys::call(libc::SYS_clone, &mut [Number(flags), Number(0), Number(0), Number(0), Number(0)])?;
    leave_if_child(child);
    Ok(child)
}

fn clone3(kind: i32) -> Result<i64, Errno> {
    let mut arguments = [0; 64];
    arguments[..8].copy_from_slice(&u64::from(kind.cast_unsigned()).to_ne_bytes());
    arguments[32..40].copy_from_slice(&u64::from(libc::SIGCHLD.cast_unsigned()).to_ne_bytes());
    let child = sys::call(libc::SYS_clone3, &mut [Bytes(&mut arguments), Number(64)])?;
    leave_if_child(child);
    Ok(child)
}

/// The second of the two processes that a successful call returns to has nothing to tell.
fn leave_if_child(child: i64) {
    if child == 0 {
        sys::call(libc::SYS_exit_group, &mut [Number(0)]).ok();
    }
}

/// Into the namespace that we are in, and the one of process 1.
fn enter(name: &str, kind: i32) -> Outcome {
    all(["self", "1"].map(|process| {
        let result = sys::open(&format!("/proc/{process}/ns/{name}"), libc::O_RDONLY).and_then(|file| {
            sys::call(libc::SYS_setns, &mut [Number(file.as_raw_fd().into()), Number(kind.into())])
        });
        (process.to_owned(), judge(result, &[libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ENOENT]))
    }))
}

fn limit() -> Outcome {
    match std::fs::read_to_string("/proc/sys/user/max_user_namespaces") {
        Ok(limit) if limit.trim() == "0" => Outcome::Held("0".to_owned()),
        Ok(limit) => Outcome::Escaped(format!("it is {}", limit.trim())),
        Err(error) => Outcome::Held(Errno::from(error).to_string()),
    }
}

fn enter_by_process() -> Outcome {
    let kinds = KINDS.iter().fold(0, |bits, (_, kind)| bits | kind);
    let result = sys::call(libc::SYS_pidfd_open, &mut [Number(1), Number(0)])
        .and_then(|process| sys::call(libc::SYS_setns, &mut [Number(process), Number(kinds.into())]));
    judge(result, &SHUT)
}

fn take_descriptor() -> Outcome {
    let result = sys::call(libc::SYS_pidfd_open, &mut [Number(1), Number(0)])
        .and_then(|process| sys::call(libc::SYS_pidfd_getfd, &mut [Number(process), Number(3), Number(0)]));
    judge(result, &SHUT)
}

/// What the root is, whatever it is called.
fn root() -> Option<(u64, u64)> {
    std::fs::metadata("/").map(|found| (found.dev(), found.ino())).ok()
}

/// The classic: keep a folder open, change the root below it, and climb from the open one.
fn climb(context: &Context) -> Outcome {
    let attempt = || -> Result<(), Errno> {
        std::fs::create_dir_all("/tmp/escape-chroot")?;
        let outside = sys::open("/", libc::O_RDONLY | libc::O_DIRECTORY)?;
        sys::call(libc::SYS_chroot, &mut [Text(c"/tmp/escape-chroot")])?;
        sys::call(libc::SYS_fchdir, &mut [Number(outside.as_raw_fd().into())])?;
        for _ in 0..64 {
            sys::call(libc::SYS_chdir, &mut [Text(c"..")])?;
        }
        sys::call(libc::SYS_chroot, &mut [Text(c".")]).map(drop)
    };
    let before = root();
    if let Err(errno) = attempt() {
        return Outcome::Held(errno.to_string());
    }
    for path in &context.canaries {
        if std::fs::read(path).is_ok_and(|content| context.is_betrayed_by(&content)) {
            return Outcome::Escaped(format!("{path} can be read"));
        }
    }
    if root() == before {
        Outcome::Held("the sandbox's own root".to_owned())
    } else {
        Outcome::Escaped("another root".to_owned())
    }
}

fn is_own(context: &Context, name: &str) -> Outcome {
    let Ok(own) = std::fs::read_link(format!("/proc/self/ns/{name}")) else {
        return Outcome::Skipped("this kernel has no such namespaces".to_owned());
    };
    let own = own.to_string_lossy().into_owned();
    if context.namespaces.is_empty() {
        return Outcome::Skipped("the host's was not told".to_owned());
    }
    if context.namespaces.contains(&own) {
        Outcome::Escaped(format!("{own} is the host's"))
    } else {
        Outcome::Held(own)
    }
}

fn ipc() -> Outcome {
    all(["shm", "msg", "sem"].map(|kind| {
        let listed = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        let outcome = match listed.lines().skip(1).count() {
            0 => Outcome::Held("none".to_owned()),
            count => Outcome::Escaped(format!("{count} are listed")),
        };
        (kind.to_owned(), outcome)
    }))
}
