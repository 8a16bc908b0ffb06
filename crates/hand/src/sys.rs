//! The system calls the standard library does not have, each behind a safe function.
//!
//! Everything here assumes one thread: the hand never starts another, which is what makes `fork` without `exec` sound.

#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

/// One packet of the control socket.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A pipe: reader, writer. Both close on exec.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// Makes reads and writes of `descriptor` return at once.
pub(crate) fn unblock(descriptor: &impl AsRawFd) -> io::Result<()> {
    let fd = descriptor.as_raw_fd();
    // SAFETY: changes only flags of an open descriptor.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// A file that lives in memory only.
pub(crate) fn memory_file(name: &str) -> io::Result<File> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends in NUL and outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` ends in NUL and outlives the call.
    check(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })?;
    Ok(())
}

/// How many bytes wait in a pipe.
pub(crate) fn waiting_bytes(pipe: &File) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result < 0 { 0 } else { usize::try_from(count).unwrap_or(0) }
}

/// Waits until one of `set` is ready or `limit` has passed.
pub(crate) fn poll(set: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<()> {
    let millis =
        limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(set.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pointer and count describe `set`.
    match check(unsafe { libc::poll(set.as_mut_ptr(), count, millis) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What of `descriptor` is ready now.
pub(crate) fn ready_now(descriptor: &impl AsRawFd) -> i16 {
    let mut set = [libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    match poll(&mut set, Some(Duration::ZERO)) {
        Ok(()) => set[0].revents,
        Err(_) => 0,
    }
}

/// Turns SIGCHLD into something to poll.
pub(crate) fn child_signals() -> io::Result<File> {
    // SAFETY: a signal set is plain data, filled by the calls below; all pointers are to live locals.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes orphans of our descendants our children, as they are for the first process of a namespace anyway.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: takes plain integers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

/// Lets others read, and only us write, what is made from now on.
pub(crate) fn set_usual_umask() {
    // SAFETY: takes a plain integer and cannot fail.
    unsafe { libc::umask(0o022) };
}

/// Reaps one ended child, if there is one.
pub(crate) fn reap() -> Option<(Pid, Exit)> {
    let mut status = 0;
    // SAFETY: `status` is a live local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Status(libc::WEXITSTATUS(status))
    };
    Some((pid, exit))
}

/// Sends a signal; one to a process that has ended goes nowhere.
pub(crate) fn kill(pid: Pid, signal: i32) {
    if pid > 1 {
        // SAFETY: takes plain integers. The guard keeps groups and the first process out of reach.
        unsafe { libc::kill(pid, signal) };
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
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// Time since boot in the ticks of `/proc/PID/stat`.
pub(crate) fn boot_ticks() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live local; the second call takes a plain integer.
    let hertz = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time);
        libc::sysconf(libc::_SC_CLK_TCK)
    };
    let hertz = u64::try_from(hertz).unwrap_or(100).max(1);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    whole * hertz + nanos * hertz / 1_000_000_000
}

/// Receives one packet of the control socket and the descriptor with it. No bytes: the other side is gone.
pub(crate) fn receive(control: &impl AsRawFd) -> io::Result<Packet> {
    let mut bytes = vec![0_u8; 64 << 10];
    let mut space = [0_u64; 8];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a zeroed header is valid; every pointer in it is to a live local with its true length.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&space) as _;
    // SAFETY: as above.
    let count = unsafe { libc::recvmsg(control.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(count);
    let mut descriptor = None;
    // SAFETY: the kernel filled the header; the CMSG functions walk only inside it. Each descriptor received is ours.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const header);
        while !entry.is_null() {
            if (*entry).cmsg_level == libc::SOL_SOCKET && (*entry).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(entry);
                let length = (*entry).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for start in (0..length).step_by(size_of::<RawFd>()) {
                    let mut fd = [0; size_of::<RawFd>()];
                    data.add(start).copy_to(fd.as_mut_ptr(), fd.len());
                    descriptor = Some(OwnedFd::from_raw_fd(RawFd::from_ne_bytes(fd)));
                }
            }
            entry = libc::CMSG_NXTHDR(&raw const header, entry);
        }
    }
    Ok(Packet { bytes, descriptor })
}

/// Lets this process, a child of the hand, be the one that dies when memory runs out.
///
/// Makes only system calls that are safe between fork and exec. A failure is harmless: the kernel then chooses by size.
fn offer_for_want_of_memory() {
    // SAFETY: all strings end in NUL, and the buffer has the length given. The file belongs to root outside unless this
    // process may be looked at, which in a child gives nothing away that the program inside does not have anyway.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, c"500".as_ptr().cast(), 3);
            libc::close(file);
        }
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
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
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::dup2(output.as_raw_fd(), OUTPUT);
        libc::syscall(libc::SYS_close_range, 4_u32, u32::MAX, 0_u32);
        limit(libc::RLIMIT_CPU, bounds.cpu_seconds);
        limit(libc::RLIMIT_AS, bounds.memory_bytes);
        limit(libc::RLIMIT_CORE, 0);
        File::from_raw_fd(OUTPUT)
    };
    offer_for_want_of_memory();
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(output)));
    // SAFETY: ends this process without running anything that belongs to the parent.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

/// # Safety
/// Only for a child process: limits are not taken back.
unsafe fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is a live local.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// Starts `command` in a session of its own, with each file of `placed` as the descriptor with that number.
pub(crate) fn spawn(command: &mut Command, placed: &[(&File, RawFd)]) -> io::Result<Pid> {
    let placed: Vec<(RawFd, RawFd)> =
        placed.iter().map(|(file, target)| (file.as_raw_fd(), *target)).collect();
    let place = move || {
        offer_for_want_of_memory();
        // SAFETY: setsid and dup2 take plain integers; the sources are past 9, so that no target is a source.
        unsafe {
            check(libc::setsid())?;
            for (source, target) in &placed {
                check(libc::dup2(*source, *target))?;
            }
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
