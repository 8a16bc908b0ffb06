//! The system calls that raise the walls, each as one safe function.
//!
//! Several of them have no wrapper in the C library; their argument structures are spelled out here. Nothing in this file
//! decides anything: order and meaning are the callers'.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

pub mod folder;
pub(crate) mod landlock;
pub(crate) mod socket;

use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use libc::c_int;
use libc::c_long;
use libc::c_ulong;

/// Mount attribute: read-only.
pub(crate) const ATTRIBUTE_READ_ONLY: u64 = 1;
/// Mount attribute: set-user-id bits have no effect.
pub(crate) const ATTRIBUTE_NO_SUID: u64 = 2;
/// Mount attribute: device nodes cannot be opened.
pub(crate) const ATTRIBUTE_NO_DEV: u64 = 4;
/// Mount attribute: nothing can be executed.
pub(crate) const ATTRIBUTE_NO_EXEC: u64 = 8;
const ATTRIBUTE_ID_MAP: u64 = 0x0010_0000;

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const RECURSIVE: c_int = 0x8000;

/// The argument of `mount_setattr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `mount`. An empty `kind` or `data` is passed as null.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: c_ulong,
    data: &CStr,
) -> io::Result<()> {
    let kind = if kind.is_empty() { std::ptr::null() } else { kind.as_ptr() };
    let data = if data.is_empty() { std::ptr::null() } else { data.as_ptr() };
    // SAFETY: every pointer is null or a NUL-terminated string that outlives the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, data.cast()) }.into()).map(drop)
}

/// Detaches what is mounted on top at `target`.
pub(crate) fn detach(target: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string and a plain flag.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

/// Makes the working directory the root; the old root is stacked on top of it, to be detached.
pub(crate) fn pivot_here() -> io::Result<()> {
    // SAFETY: both arguments are static NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// A detached copy of the mount at `path`, with the mounts below it when `recursive`.
pub(crate) fn clone_mount(path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let below = if recursive { RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | below.cast_unsigned();
    // SAFETY: a NUL-terminated path and flags.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// A detached copy of the mount at an open folder, without the mounts below it.
pub(crate) fn clone_open_mount(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | (libc::O_CLOEXEC | libc::AT_EMPTY_PATH).cast_unsigned();
    // SAFETY: an open descriptor, a NUL-terminated path and flags.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, folder.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Sets attributes of a detached mount, and maps its owners through `user_namespace` when one is given.
pub(crate) fn set_mount_attributes(
    tree: BorrowedFd<'_>,
    set: u64,
    user_namespace: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> io::Result<()> {
    let mut attributes = MountAttributes { set, ..MountAttributes::default() };
    if let Some(namespace) = user_namespace {
        attributes.set |= ATTRIBUTE_ID_MAP;
        attributes.user_namespace = u64::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    // SAFETY: the structure has the layout that the kernel expects, and its size is passed along.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// Attaches a detached mount at `target`.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    // SAFETY: NUL-terminated strings and an open descriptor.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Attaches a detached mount on an open folder.
pub(super) fn attach_open(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: NUL-terminated strings and open descriptors.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Detaches the mount that a descriptor is of, by its name in `descriptors`, which is this process's `/proc/self/fd` and
/// becomes its working directory: no path can lead elsewhere.
pub(super) fn detach_open(tree: BorrowedFd<'_>, descriptors: BorrowedFd<'_>) -> io::Result<()> {
    let name = CString::new(tree.as_raw_fd().to_string()).expect("digits only");
    // SAFETY: an open descriptor.
    check(unsafe { libc::fchdir(descriptors.as_raw_fd()) }.into())?;
    detach(&name)
}

/// A new, detached instance of a file system that takes no options.
pub(super) fn new_filesystem(kind: &CStr, attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated string and a flag.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: this command takes neither key nor value.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, nothing, nothing, 0)
    })?;
    // SAFETY: an open descriptor, a flag, and attributes.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// Whether the file system at `path` is read-only.
pub(super) fn is_read_only(path: &CStr) -> io::Result<bool> {
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a structure that we own.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut found) }.into())?;
    Ok(found.f_flag & libc::ST_RDONLY != 0)
}

/// Changes the ids that file accesses are made with, and keeps all capabilities while doing so.
pub(super) fn set_filesystem_ids(id: u32) -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: c_ulong = 4;
    let bits = if id == 0 { 0 } else { SECBIT_NO_SETUID_FIXUP };
    if id != 0 {
        control_process(libc::PR_SET_SECUREBITS, bits)?;
    }
    // SAFETY: both take plain numbers and cannot fail in a way that harms us.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
    if id == 0 {
        control_process(libc::PR_SET_SECUREBITS, bits)?;
    }
    // An invalid id changes nothing and answers the current one.
    // SAFETY: plain numbers.
    let current = unsafe { libc::setfsuid(u32::MAX) };
    if u32::try_from(current) == Ok(id) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// `prctl` with one argument.
pub(crate) fn control_process(option: c_int, argument: c_ulong) -> io::Result<()> {
    let zero: c_ulong = 0;
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, argument, zero, zero, zero) }.into()).map(drop)
}

/// Leaves the given kinds of namespace for new ones.
pub(crate) fn unshare(kinds: c_int) -> io::Result<()> {
    // SAFETY: a plain flag.
    check(unsafe { libc::unshare(kinds) }.into()).map(drop)
}

/// Which of two processes this is after [`copy`].
pub(super) enum Copy {
    /// The one that there was before.
    Original(Child),
    /// The one that was made.
    Copy,
}

/// A copy of this process, to be waited for.
pub(super) struct Child(libc::pid_t);

/// Makes a copy of this process.
pub(super) fn copy() -> io::Result<Copy> {
    // SAFETY: this process has one thread, so the copy has all of it and no lock is held by a thread that is not there.
    let child = unsafe { libc::fork() };
    match child {
        0 => Ok(Copy::Copy),
        child => check(child.into()).map(|_| Copy::Original(Child(child))),
    }
}

/// Ends a copy without running anything that belongs to the original.
pub(super) fn end_copy(has_failed: bool) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(has_failed.into()) }
}

impl Child {
    /// Waits for its end.
    pub(super) fn reap(self) -> io::Result<()> {
        loop {
            // SAFETY: a null pointer says that the status is not wanted.
            match check(unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) }.into()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }
}

/// Enters a user namespace.
pub(crate) fn enter_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor and a plain flag.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// Becomes user and group 0, without other groups where the namespace lets us drop them.
pub(crate) fn become_root(drop_groups: bool) -> io::Result<()> {
    // SAFETY: an empty list needs no pointer; the others take plain numbers.
    unsafe {
        if drop_groups {
            check(libc::setgroups(0, std::ptr::null()).into())?;
        }
        check(libc::setresgid(0, 0, 0).into())?;
        check(libc::setresuid(0, 0, 0).into()).map(drop)
    }
}

/// Sets effective, permitted and no inheritable capabilities.
pub(crate) fn set_capabilities(keep: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        process: i32,
    }
    #[repr(C)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let half = |bits: u64| {
        let bits = u32::try_from(bits & u64::from(u32::MAX)).expect("masked to 32 bits");
        Half { effective: bits, permitted: bits, inheritable: 0 }
    };
    let header = Header { version: VERSION_3, process: 0 };
    let halves = [half(keep), half(keep >> 32)];
    // SAFETY: version 3 takes one header and two data structures, which is what the pointers lead to.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) }).map(drop)
}

/// Lowers a resource limit to `most`; a lower hard limit stays as it is.
pub(crate) fn limit_resource(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a structure that we own.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) }.into())?;
    let most = most.min(limit.rlim_max);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a structure that we own.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }.into()).map(drop)
}

/// Names the machine, inside a UTS namespace of our own.
pub(super) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong to the same string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Brings the loopback device of the current network namespace up.
pub(super) fn raise_loopback() -> io::Result<()> {
    // SAFETY: plain numbers.
    let socket =
        owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: all bits zero is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("two low bits");
    // SAFETY: the request is the structure that this control expects.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}

/// Installs a seccomp program for this process and everything it starts.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    const SET_MODE_FILTER: c_int = 1;
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which is valid for the length given, and does not write to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Makes `to` a copy of `from`, which stays open over an exec.
pub(super) fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: `to` is one of the three standard descriptors, which no owner in this process closes.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }.into()).map(drop)
}

/// Sets the mask of permission bits that new files do not get.
pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: a plain number; this call cannot fail.
    unsafe { libc::umask(mask) };
}

/// The version of Landlock, or why there is none.
pub(super) fn landlock_version() -> io::Result<c_long> {
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: asking for the version takes neither structure nor size.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, 1u32) })
}

/// Effective user and group of this process.
pub(super) fn ids() -> (u32, u32) {
    // SAFETY: both take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Reads the one message that `fd` holds next.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length belong to the same buffer.
        let result = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if let Ok(length) = usize::try_from(result) {
            return Ok(length);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends one message.
pub(super) fn send(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length belong to the same message.
    let result =
        unsafe { libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes ownership of a descriptor that the process was started with; `None` when it is not open.
pub(crate) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: asking for the flags of any number is harmless.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and by the protocol with the spawner nothing else in this process owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
