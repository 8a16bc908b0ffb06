//! Making, watching and ending processes. Only the spawner uses this, and the spawner has one thread.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use super::check;
use super::owned;

/// A process id.
pub(crate) type Pid = libc::pid_t;

/// A process of ours that is watched through a descriptor, so that its number cannot be mistaken.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) fd: OwnedFd,
}

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The one that was there before.
    Parent(Child),
}

impl Child {
    /// Ends it. Fine when it has ended already.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let nothing: *const libc::siginfo_t = std::ptr::null();
        let fd = self.fd.as_raw_fd();
        // SAFETY: an open descriptor, a signal, and no further information.
        match check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, nothing, 0) }) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// How it ended, once it has: an exit status, or a signal as a negative number. `None` while it runs.
    pub(crate) fn reap(&self, wait: bool) -> io::Result<Option<i32>> {
        let id = libc::id_t::try_from(self.fd.as_raw_fd()).map_err(io::Error::other)?;
        let options = libc::WEXITED | if wait { 0 } else { libc::WNOHANG };
        // SAFETY: all bits zero is a valid value of this plain structure.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: a structure that we own.
            match check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        // SAFETY: after a successful wait these fields are the ones that are set; zero means that nothing has ended.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok((pid != 0).then_some(if info.si_code == libc::CLD_EXITED { status } else { -status }))
    }
}

/// Copies this process, with `flags` for new namespaces. Unless the caller has one thread, the copy must do nothing but
/// system calls.
pub(crate) fn fork(flags: i32) -> io::Result<Forked> {
    let mut fd: RawFd = -1;
    let arguments = CloneArguments {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: (&raw mut fd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    // SAFETY: without shared memory or a stack of its own the child goes on with a copy of everything. By the
    // rule above no lock is held by a thread that the copy lacks, or none is taken.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just stored this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(Forked::Parent(Child { pid: Pid::try_from(pid).map_err(io::Error::other)?, fd }))
}

/// Ends this process without running anything that a copy should not run.
pub(crate) fn exit_copy(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// What the child of [`start`] does between being made and becoming the program.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The program.
    pub(crate) program: BorrowedFd<'a>,
    /// Becomes descriptor 3.
    pub(crate) control: BorrowedFd<'a>,
    /// Becomes descriptor 4.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    /// A control group of version 2 to be born into.
    pub(crate) group: Option<BorrowedFd<'a>>,
    /// Control groups of version 1 to move into: their `tasks` files.
    pub(crate) entries: &'a [File],
    /// Kinds of namespace to make.
    pub(crate) namespaces: i32,
    /// How the ids of a new user namespace are mapped.
    pub(crate) maps: Maps<'a>,
}

/// How the ids of a new user namespace are mapped. It has to happen before the exec: an exec by an id without a
/// mapping loses all capabilities.
#[derive(Debug)]
pub(crate) enum Maps<'a> {
    /// There is no new user namespace.
    None,
    /// The child maps its own id to 0, by these lines for users and groups.
    Own { users: &'a [u8], groups: &'a [u8] },
    /// Somebody else does; the child waits for a byte on this descriptor.
    Awaited(BorrowedFd<'a>),
}

/// The child makes a dozen calls.
const STACK_BYTES: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Everything that the child touches, as plain values.
struct Prepared {
    program: RawFd,
    control: RawFd,
    user_namespace: RawFd,
    awaited: RawFd,
    entries: (*const RawFd, usize),
    users: (*const u8, usize),
    groups: (*const u8, usize),
    becomes_root: bool,
}

/// Starts a program in new namespaces, with no arguments and an empty environment.
///
/// Where possible the child borrows this process's memory until it becomes the program (as `vfork` does): the cost does
/// not grow with our size. It runs on a stack of its own.
pub(crate) fn start(start: &Start<'_>) -> io::Result<Child> {
    // The descriptors that become 3 and 4 must not be those themselves.
    let control = raised(start.control)?;
    let user_namespace = start.user_namespace.map(raised).transpose()?;
    let program = raised(start.program)?;
    let entries: Vec<RawFd> = start.entries.iter().map(AsRawFd::as_raw_fd).collect();
    let mut prepared = Prepared {
        program: program.as_raw_fd(),
        control: control.as_raw_fd(),
        user_namespace: user_namespace.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        awaited: -1,
        entries: (entries.as_ptr(), entries.len()),
        users: (std::ptr::null(), 0),
        groups: (std::ptr::null(), 0),
        becomes_root: !matches!(start.maps, Maps::None),
    };
    let mut borrows_memory = true;
    match &start.maps {
        Maps::None => {}
        Maps::Own { users, groups } => {
            prepared.users = (users.as_ptr(), users.len());
            prepared.groups = (groups.as_ptr(), groups.len());
        }
        Maps::Awaited(fd) => {
            prepared.awaited = fd.as_raw_fd();
            borrows_memory = false;
        }
    }
    let mut stack = Box::new(Stack([0; STACK_BYTES]));
    let mut fd: RawFd = -1;
    let borrowed = if borrows_memory { libc::CLONE_VM | libc::CLONE_VFORK } else { 0 };
    let mut arguments = CloneArguments {
        flags: u64::from((start.namespaces | borrowed | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: (&raw mut fd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: (&raw mut *stack).addr() as u64,
        stack_size: STACK_BYTES as u64,
        ..CloneArguments::default()
    };
    if let Some(group) = start.group {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    // SAFETY: everything that the arguments and `prepared` refer to lives until this function returns. With borrowed
    // memory this thread is suspended until the child has become the program or ended; otherwise the child has copies.
    let result = unsafe { clone_onto_stack(&arguments, become_program, &raw const prepared) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    // SAFETY: the kernel has just stored this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(Child { pid: Pid::try_from(result).map_err(io::Error::other)?, fd })
}

/// A copy of a descriptor with a number above those that have a meaning.
fn raised(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: an open descriptor and a plain number.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10) })
}

/// `clone3` for a child that starts in `child` on the stack in the arguments. Returns as the system call does.
///
/// # Safety
/// The stack must be free and stay valid, and so must `prepared`, until the child has become another program.
unsafe fn clone_onto_stack(
    arguments: &CloneArguments,
    child: extern "C" fn(*const Prepared) -> !,
    prepared: *const Prepared,
) -> i64 {
    let result: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the parent's path leaves every register but the ones named alone. The child never returns into this frame:
    // it calls `child` on its own stack, which is aligned to 16 bytes.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArguments>(),
            in("r12") child,
            in("r13") prepared,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            inlateout("x0") arguments => result,
            in("x1") size_of::<CloneArguments>(),
            in("x8") libc::SYS_clone3,
            in("x20") child,
            in("x21") prepared,
        );
    }
    result
}

/// Runs in the child. Only system calls: the memory may be borrowed.
extern "C" fn become_program(prepared: *const Prepared) -> ! {
    // SAFETY: the parent keeps `prepared` and all that it refers to alive; the calls take numbers and pointers to static
    // strings or to those buffers. Descriptors are this process's own copies.
    unsafe {
        let prepared = &*prepared;
        for entry in std::slice::from_raw_parts(prepared.entries.0, prepared.entries.1) {
            if libc::write(*entry, b"0".as_ptr().cast(), 1) != 1 {
                libc::_exit(119);
            }
        }
        if prepared.awaited >= 0 {
            let mut byte = 0u8;
            if libc::read(prepared.awaited, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(120);
            }
        }
        if !prepared.users.0.is_null() {
            write_or_exit(c"/proc/self/setgroups", (b"deny".as_ptr(), 4));
            write_or_exit(c"/proc/self/uid_map", prepared.users);
            write_or_exit(c"/proc/self/gid_map", prepared.groups);
        }
        if prepared.becomes_root && (libc::setresgid(0, 0, 0) < 0 || libc::setresuid(0, 0, 0) < 0) {
            libc::_exit(121);
        }
        // A mask outlives the exec, and what we block is no business of theirs.
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // The standard input is /dev/null already; the log must not be reachable from inside.
        if libc::dup2(0, 1) < 0 || libc::dup2(0, 2) < 0 || libc::dup2(prepared.control, 3) < 0 {
            libc::_exit(122);
        }
        if prepared.user_namespace < 0 {
            libc::close(4);
        } else if libc::dup2(prepared.user_namespace, 4) < 0 {
            libc::_exit(123);
        }
        let close_on_exec = 4u32;
        libc::syscall(libc::SYS_close_range, 5u32, u32::MAX, close_on_exec);
        let arguments = [c"hand".as_ptr(), std::ptr::null()];
        let environment: [*const libc::c_char; 1] = [std::ptr::null()];
        let (name, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
        libc::syscall(libc::SYS_execveat, prepared.program, name, arguments, environment, flags);
        libc::_exit(124)
    }
}

/// # Safety
/// The text must be valid for its length.
unsafe fn write_or_exit(path: &CStr, text: (*const u8, usize)) {
    // SAFETY: a static path; the caller vouches for the text.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let written = libc::write(fd, text.0.cast(), text.1);
        if usize::try_from(written) != Ok(text.1) {
            libc::_exit(125);
        }
        libc::close(fd);
    }
}

/// A program in memory that nobody can change any more.
pub(crate) fn sealed_program(program: &[u8]) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a static name and flags.
    let mut file = File::from(owned(unsafe { libc::memfd_create(c"hand".as_ptr(), flags) })?);
    file.write_all(program)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: an open descriptor and flags.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file.into())
}

/// Waits until one of the descriptors can be read or the time is over; answers which can.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout_ms: i32) -> io::Result<Vec<bool>> {
    let mut waits: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(waits.len()).map_err(io::Error::other)?;
    // SAFETY: pointer and count belong to the same list.
    match check(unsafe { libc::poll(waits.as_mut_ptr(), count, timeout_ms) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(vec![false; fds.len()]),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    Ok(waits.iter().map(|wait| wait.revents != 0).collect())
}

/// Leaves the session and the process group of whoever started this process.
pub(crate) fn lead_own_session() -> io::Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Makes `to` a copy of `from` that stays open over an exec.
pub(crate) fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: `to` is a standard descriptor, which nothing in this process owns.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }).map(drop)
}

/// Closes every descriptor from `first` on.
///
/// Meant for the start of a process, before it has opened any, and for copies that are about to exit.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: by the rule above no owner of these descriptors is left to use or close them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0u32) }).map(drop)
}

/// Ends this process when the one that made it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a signal.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Lets every other process go first.
pub(crate) fn step_back() {
    // SAFETY: plain numbers. There is nothing to do about a failure, which costs speed only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Bounds the processes of this one's user, for what this process makes from now on.
pub(crate) fn limit_processes(most: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a structure that we own.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) }).map(drop)
}

/// Acts as another user from now on, with what this process may do. The kernel bounds nothing by user that root makes, so
/// the real ids change, too.
pub(crate) fn act_as(id: u32) -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 4;
    // SAFETY: plain numbers; all bits set leave an id as it is.
    unsafe {
        check(libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP))?;
        check(libc::setresgid(id, id, u32::MAX))?;
        check(libc::setresuid(id, id, u32::MAX)).map(drop)
    }
}

/// Leaves the user namespace for a new one, whose ids are to be mapped by somebody else.
pub(crate) fn unshare_users() -> io::Result<()> {
    // SAFETY: a plain flag.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }).map(drop)
}

/// Lets every signal through again, for a program that is about to take this process's place.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: the set is initialised before it is used, and outlives the call.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())).map(drop)
    }
}

/// A descriptor that becomes readable when somebody asks this process to end; the signal does nothing else then.
pub(crate) fn termination() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used, and outlives the calls.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()))?;
        owned(libc::signalfd(-1, &raw const signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))
    }
}

/// Keeps what is mounted from now on to this process's mount namespace.
pub(crate) fn make_mounts_private() -> io::Result<()> {
    let (none, flags) = (c"none".as_ptr(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: static strings and flags; type and data are not used.
    check(unsafe { libc::mount(none, c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) }).map(drop)
}

/// Sets the mask of permission bits that new files do not get.
pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: a plain number; this call cannot fail.
    unsafe { libc::umask(mask) };
}

/// Effective user and group of this process.
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: both take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Microseconds since the machine was started, by a clock that nobody can set.
pub(crate) fn since_boot_micros() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists since Linux 2.6.39, and the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}
