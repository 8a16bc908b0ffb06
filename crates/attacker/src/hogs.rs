//! Taking more than the sandbox's share, within twice of it, so that a host without that wall stays whole.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;
use crate::sys::End;
use crate::sys::Errno;

const STEP: usize = 8 << 20;
/// How long one hog may feed.
const TIME_MAX: Duration = Duration::from_secs(6);
/// How long one may take altogether: what it took has to be given back, by a machine that may have other work.
const PROBE_TIME_MAX: Duration = Duration::from_secs(20);
/// Double forks that must leave nothing behind.
const ZOMBIES: u32 = 10_000;
/// More than any sandbox may have open.
const DESCRIPTORS_MAX: u32 = 70_000;
const TERMINALS_MAX: u32 = 300;
/// More than a sandbox may use up of what all users of a host share.
const WATCHES_MAX: usize = 10_000;

/// Rows 1, 2, 36 and 42.
pub(crate) fn probes() -> Vec<Probe> {
    let probes = vec![
        Probe::new(1, "fork bomb", "EAGAIN at the limit", |context| bomb(context, false)),
        Probe::new(1, "fork bomb of many users", "EAGAIN at the limit", |context| bomb(context, true)),
        Probe::new(36, "10,000 double forks", "no zombie is left", |_| zombies()),
        // Without a bound on all processes together there is one on each, and one on what /dev/shm holds.
        Probe::new(2, "memory of one process", "killed or ENOMEM", |context| {
            memory(context, || allocate(u64::MAX))
        }),
        Probe::new(2, "files in /dev/shm", "ENOSPC or killed", |context| {
            memory(context, || fill(shared_file()))
        }),
        Probe::new(2, "memory of four processes", "killed or ENOMEM", |context| {
            shared_memory(context, || four(context))
        }),
        Probe::new(2, "a file in memory", "killed or ENOMEM", |context| {
            shared_memory(context, || fill(memory_file()))
        }),
        Probe::new(2, "buffers of pipes", "killed, or an end of descriptors", |context| {
            shared_memory(context, || {
                buffers(|| std::io::pipe().map(|(reader, writer)| Pair { writer, _reader: reader }))
            })
        }),
        Probe::new(2, "buffers of sockets", "killed, or an end of descriptors", |context| {
            shared_memory(context, || {
                buffers(|| UnixStream::pair().map(|(writer, reader)| Pair { writer, _reader: reader }))
            })
        }),
        Probe::new(42, "descriptors", "EMFILE", |_| {
            count_up(DESCRIPTORS_MAX, || sys::open("/dev/null", libc::O_RDONLY))
        }),
        Probe::new(42, "terminals", "ENOSPC", |_| {
            count_up(TERMINALS_MAX, || sys::open("/dev/ptmx", libc::O_RDWR))
        }),
        Probe::new(42, "watches of files", "fewer than the host grants one user", |_| watches()),
    ];
    probes.into_iter().map(|probe| probe.within(PROBE_TIME_MAX)).collect()
}

/// Starts up to twice as many processes as are permitted; all of them end with the probe.
fn bomb(context: &Context, changes_user: bool) -> Outcome {
    let Some(limit) = context.processes_max else {
        return Outcome::Skipped("this host bounds no processes: see `journeyman doctor`".to_owned());
    };
    if changes_user && !has_other_users() {
        return Outcome::Held("there is nobody else to be".to_owned());
    }
    for count in 0..limit * 2 {
        let child = sys::fork(|| {
            if changes_user {
                set_user(i64::try_from(count + 1).unwrap_or(1));
            }
            sys::pause();
        });
        if let Err(errno) = child {
            return Outcome::Held(format!("{errno} after {count}"));
        }
    }
    Outcome::Escaped(format!("{} processes run, {limit} were permitted", limit * 2))
}

/// Whether there is somebody else to be.
fn has_other_users() -> bool {
    let start = Instant::now();
    // What the last bomb left is still being collected.
    let child = loop {
        match sys::fork(|| set_user(1)) {
            Err(_) if start.elapsed() < TIME_MAX => std::thread::sleep(Duration::from_millis(10)),
            child => break child,
        }
    };
    // Where not even one process can be started, the bomb itself says so.
    child.map_or(true, |child| sys::wait(child) == 0)
}

/// Becomes another user. A child that cannot says so by its status.
fn set_user(id: i64) {
    if sys::call(libc::SYS_setuid, &mut [Number(id)]).is_err() {
        sys::call(libc::SYS_exit_group, &mut [Number(1)]).ok();
    }
}

fn zombies() -> Outcome {
    let start = Instant::now();
    let mut done = 0;
    while done < ZOMBIES && start.elapsed() < TIME_MAX {
        // The grandchild outlives its parent for a moment, so that process 1 inherits it.
        let child = sys::fork(|| {
            sys::fork(|| ()).ok();
        });
        match child {
            Ok(child) => {
                sys::wait(child);
                done += 1;
            }
            // Those that ended are being collected.
            Err(_) => std::thread::yield_now(),
        }
    }
    let mut left = count_zombies();
    while left > 0 && start.elapsed() < TIME_MAX + Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(10));
        left = count_zombies();
    }
    if left == 0 {
        Outcome::Held(format!("{done} forks, none left"))
    } else {
        Outcome::Escaped(format!("{left} are left"))
    }
}

fn count_zombies() -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let stats = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))).count()
}

/// A hog that only a bound on all processes together can stop.
fn shared_memory(context: &Context, hog: impl FnOnce() -> Result<(), String>) -> Outcome {
    if context.is_memory_shared {
        return memory(context, hog);
    }
    let reason = "this host bounds memory for each process only: see `journeyman doctor`";
    Outcome::Skipped(reason.to_owned())
}

/// Runs a hog in a child that the kernel will pick first. The hog says how it met a limit, or nothing when it met none.
fn memory(context: &Context, hog: impl FnOnce() -> Result<(), String>) -> Outcome {
    let limit = context.memory_bytes_max;
    let end = sys::in_child(TIME_MAX, || {
        std::fs::write("/proc/self/oom_score_adj", "1000").ok();
        HUNGER.set(limit * 2);
        hog().err().unwrap_or_default().into_bytes()
    });
    shared_file_path_remove();
    match end {
        End::Signal(signal) => Outcome::Held(format!("killed by signal {signal}")),
        End::Answer(met) if !met.is_empty() => Outcome::Held(String::from_utf8_lossy(&met).into_owned()),
        End::Answer(_) => {
            Outcome::Escaped(format!("it took {} MiB, {} were permitted", limit >> 19, limit >> 20))
        }
        End::Nothing => Outcome::Held("killed".to_owned()),
        End::Late => Outcome::Held("slowed down".to_owned()),
        End::Failed(errno) => Outcome::Skipped(format!("no process could be started: {errno}")),
    }
}

thread_local! {
    /// How much a hog takes at most.
    static HUNGER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn allocate(most: u64) -> Result<(), String> {
    let mut held = Vec::new();
    let mut taken = 0;
    while taken < HUNGER.get().min(most) {
        let mut piece: Vec<u8> = Vec::new();
        piece.try_reserve_exact(STEP).map_err(|_| format!("ENOMEM after {} MiB", taken >> 20))?;
        piece.resize(STEP, 1);
        held.push(piece);
        taken += STEP as u64;
    }
    drop(held);
    Ok(())
}

/// Each takes half of the limit and a little: less than the bound of a single process.
fn four(context: &Context) -> Result<(), String> {
    let share = context.memory_bytes_max / 2;
    let children: Vec<_> = (0..4)
        .map(|_| {
            sys::fork(|| {
                // The share stays taken until the group is ended.
                if allocate_and_hold(share).is_err() {
                    sys::call(libc::SYS_exit_group, &mut [Number(1)]).ok();
                }
            })
        })
        .collect();
    for child in children.into_iter().flatten() {
        match sys::wait(child) {
            0 => {}
            status => return Err(format!("a process ended with status {status:#x}")),
        }
    }
    Ok(())
}

fn allocate_and_hold(share: u64) -> Result<(), String> {
    let mut held: Vec<u8> = Vec::new();
    let share = usize::try_from(share).map_err(|error| error.to_string())?;
    held.try_reserve_exact(share).map_err(|error| error.to_string())?;
    held.resize(share, 1);
    std::thread::sleep(Duration::from_secs(1));
    drop(held);
    Ok(())
}

fn memory_file() -> Result<File, Errno> {
    let answer = sys::call(libc::SYS_memfd_create, &mut [Text(c"escape"), Number(0)])?;
    sys::own(answer).ok_or(Errno(libc::EBADF))
}

const SHARED_FILE: &str = "/dev/shm/escape";

fn shared_file() -> Result<File, Errno> {
    sys::open(SHARED_FILE, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)
}

fn shared_file_path_remove() {
    std::fs::remove_file(SHARED_FILE).ok();
}

fn fill(file: Result<File, Errno>) -> Result<(), String> {
    let mut file = file.map_err(|errno| errno.to_string())?;
    let piece = vec![1; STEP];
    let mut taken = 0;
    while taken < HUNGER.get() {
        file.write_all(&piece)
            .map_err(|error| format!("{} after {} MiB", Errno::from(error), taken >> 20))?;
        taken += STEP as u64;
    }
    Ok(())
}

/// Two ends that hold what was written to one of them.
struct Pair<W, R> {
    writer: W,
    _reader: R,
}

impl<W: AsRawFd, R> AsRawFd for Pair<W, R> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.writer.as_raw_fd()
    }
}

fn buffers<T: AsRawFd>(mut make: impl FnMut() -> std::io::Result<T>) -> Result<(), String> {
    let mut held = Vec::new();
    let mut taken = 0;
    let mut piece = vec![1; 64 << 10];
    while taken < HUNGER.get() {
        let buffer = make().map_err(|error| format!("{} after {} MiB", Errno::from(error), taken >> 20))?;
        let fd = || Number(buffer.as_raw_fd().into());
        sys::call(
            libc::SYS_fcntl,
            &mut [fd(), Number(libc::F_SETFL.into()), Number(libc::O_NONBLOCK.into())],
        )
        .ok();
        while let Ok(count) = sys::call(libc::SYS_write, &mut [fd(), Bytes(&mut piece), Number(64 << 10)]) {
            taken += u64::try_from(count).unwrap_or(0);
        }
        held.push(buffer);
    }
    Ok(())
}

/// Takes one after the other until there are no more.
fn count_up<T>(most: u32, mut take: impl FnMut() -> Result<T, Errno>) -> Outcome {
    let mut held = Vec::new();
    for count in 0..most {
        match take() {
            Ok(one) => held.push(one),
            Err(errno) => return Outcome::Held(format!("{errno} after {count}")),
        }
    }
    Outcome::Escaped(format!("{most} could be had"))
}

/// The kernel counts these for whoever made the user namespace, too: a sandbox without a bound of its own takes them from
/// the account that runs the server, and from every other sandbox.
fn watches() -> Outcome {
    let granted = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    let granted: usize = granted.trim().parse().unwrap_or(usize::MAX);
    let mut held = Vec::new();
    while held.len() < granted.min(WATCHES_MAX) {
        let answer = sys::call(libc::SYS_inotify_init1, &mut [Number(libc::IN_CLOEXEC.into())]);
        match answer.map(sys::own) {
            Ok(Some(one)) => held.push(one),
            Ok(None) => return Outcome::Skipped("the kernel answered with no descriptor".to_owned()),
            Err(errno) => {
                return Outcome::Held(format!("{errno} after {}, {granted} are granted", held.len()));
            }
        }
    }
    Outcome::Escaped(format!("it took {}: the account that runs the server has none left", held.len()))
}
