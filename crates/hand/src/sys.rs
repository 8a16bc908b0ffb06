//! The system calls that the standard library does not have, in the caller's words.
//!
//! Everything here assumes one thread: the hand never starts another, which is what makes `fork` without `exec` sound.

#![expect(unsafe_code, reason = "system calls that rustix lacks; each block says why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::MemfdFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::time::ClockId;

/// A process id.
pub(crate) type Pid = libc::pid_t;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this status.
    Status(i32),
    /// Killed by this signal.
    Signal(i32),
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A pipe: reader, writer. Both close on exec.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// Makes reads and writes of `descriptor` return at once.
pub(crate) fn unblock(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, true)?)
}

/// A file that lives in memory only.
pub(crate) fn memory_file(name: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// How many bytes wait in a pipe.
pub(crate) fn waiting_bytes(pipe: &File) -> usize {
    rustix::io::ioctl_fionread(pipe).map_or(0, |count| usize::try_from(count).unwrap_or(0))
}

/// What of `descriptor` is ready now.
pub(crate) fn ready_now(descriptor: &impl AsFd) -> PollFlags {
    let mut set = [PollFd::new(descriptor, PollFlags::IN)];
    match rustix::event::poll(&mut set, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => set[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Turns a signal into something to poll.
pub(crate) fn signals(signal: i32) -> io::Result<File> {
    // SAFETY: a signal set is plain data, filled by the calls below; all pointers are to live locals.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes orphans of our descendants our children, as they are for the first process of a namespace anyway.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Lets others read, and only us write, what is made from now on.
pub(crate) fn set_usual_umask() {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Reaps one ended child, if there is one.
pub(crate) fn reap() -> Option<(Pid, Exit)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok().flatten()?;
    let exit = match status.terminating_signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Status(status.exit_status().unwrap_or_default()),
    };
    Some((pid.as_raw_nonzero().get(), exit))
}

/// Sends a signal; one to a process that has ended goes nowhere.
pub(crate) fn kill(pid: Pid, signal: Signal) {
    // Groups and the first process stay out of reach.
    if let Some(pid) = rustix::process::Pid::from_raw(pid.max(0)).filter(|pid| !pid.is_init()) {
        rustix::process::kill_process(pid, signal).unwrap_or_default();
    }
}

/// Kills every process of this namespace but this one, which is its first: outside of one it would be everybody.
pub(crate) fn kill_all_others() {
    assert_eq!(own_pid(), 1, "only the first process of a namespace may kill all others");
    // SAFETY: takes plain integers.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Our own process id.
pub(crate) fn own_pid() -> Pid {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Time since boot in the ticks of `/proc/PID/stat`.
pub(crate) fn boot_ticks() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    whole * hertz + nanos * hertz / 1_000_000_000
}

/// Lets this process, a child of the hand, be the one that dies when memory runs out.
///
/// Makes only system calls that are safe between fork and exec. A failure is harmless: the kernel then chooses by size.
fn offer_for_want_of_memory() {
    // The file belongs to root outside unless this process may be looked at, which in a child gives nothing away that the
    // program inside does not have anyway.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        rustix::io::write(file, b"500").unwrap_or_default();
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
}

/// Limits of a forked child.
pub(crate) struct Bounds {
    /// Seconds of processor time.
    pub(crate) cpu_seconds: u64,
    /// Bytes of address space.
    pub(crate) memory_bytes: u64,
}

/// Forks a child that does `work` with `output` as the only descriptor past the standard ones, then exits.
pub(crate) fn fork(output: &File, bounds: &Bounds, work: impl FnOnce(File)) -> io::Result<Pid> {
    const OUTPUT: RawFd = 3;
    // SAFETY: this process has one thread, so the child has all of it and no lock is held by a thread that is not there.
    let pid = check(unsafe { libc::fork() })?;
    if pid > 0 {
        return Ok(pid);
    }
    // SAFETY: from here on this is the child, which ends below and never returns. `OUTPUT` is the hand's control socket
    // or unused; every descriptor is replaced or closed before a `File` owns one.
    let output = unsafe {
        libc::dup2(output.as_raw_fd(), OUTPUT);
        libc::syscall(libc::SYS_close_range, 4_u32, u32::MAX, 0_u32);
        File::from_raw_fd(OUTPUT)
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap_or_default();
    let limits =
        [(Resource::Cpu, bounds.cpu_seconds), (Resource::As, bounds.memory_bytes), (Resource::Core, 0)];
    for (resource, most) in limits {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .unwrap_or_default();
    }
    offer_for_want_of_memory();
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(output)));
    // SAFETY: ends this process without running anything that belongs to the parent.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

/// Starts `command` in a session of its own, with each file of `placed` as the descriptor with that number.
pub(crate) fn spawn(command: &mut Command, placed: &[(&File, RawFd)]) -> io::Result<Pid> {
    let placed: Vec<(RawFd, RawFd)> =
        placed.iter().map(|(file, target)| (file.as_raw_fd(), *target)).collect();
    let place = move || {
        offer_for_want_of_memory();
        rustix::process::setsid()?;
        for (source, target) in &placed {
            // SAFETY: takes plain integers; the sources are past 9, so that no target is a source.
            check(unsafe { libc::dup2(*source, *target) })?;
        }
        Ok(())
    };
    // SAFETY: `place` makes only system calls that are safe between fork and exec.
    unsafe { command.pre_exec(place) };
    let child = command.spawn()?;
    Pid::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Fills every unused descriptor below ten, for good, so that files opened later are past what [`spawn`] overwrites. What
/// is open already will not reach any other program.
pub(crate) fn reserve_low_descriptors() -> io::Result<()> {
    // SAFETY: sets a flag on descriptors, closes none.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    loop {
        let filler = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
        if filler.as_raw_fd() >= 10 {
            return Ok(());
        }
        std::mem::forget(filler);
    }
}

/// Gives memory that was used and is not any more back to the host, which otherwise stays with this process.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what the allocator holds free; there is one thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
