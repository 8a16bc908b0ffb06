//! The system calls that isolate a process, each as one function in the caller's words.
//!
//! Nothing in this file decides anything: order and meaning are the callers'. What `rustix` lacks is spelled out here.

#![expect(
    unsafe_code,
    reason = "system calls that rustix lacks; every block says why its arguments are valid"
)]

pub mod folder;
pub(crate) mod landlock;
pub(crate) mod socket;

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use libc::c_int;
use libc::c_long;
use rustix::fs::CWD;
use rustix::io::retry_on_intr;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;
use rustix::process::Gid;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Uid;
use rustix::process::WaitOptions;
use rustix::thread::CapabilitiesSecureBits;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use rustix::thread::LinkNameSpaceType;

/// Mount attribute: read-only.
pub(crate) const ATTRIBUTE_READ_ONLY: u64 = 1;
/// Mount attribute: set-user-id bits have no effect.
pub(crate) const ATTRIBUTE_NO_SUID: u64 = 2;
/// Mount attribute: device nodes cannot be opened.
pub(crate) const ATTRIBUTE_NO_DEV: u64 = 4;
/// Mount attribute: nothing can be executed.
pub(crate) const ATTRIBUTE_NO_EXEC: u64 = 8;
const ATTRIBUTE_ID_MAP: u64 = 0x0010_0000;
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

/// `mount`. An empty `data` is none.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: MountFlags,
    data: &CStr,
) -> io::Result<()> {
    let data = Some(data).filter(|data| !data.is_empty());
    Ok(rustix::mount::mount(source, target, kind, flags, data)?)
}

/// Cuts every mount of this namespace off from those that it was copied from.
pub(crate) fn make_mounts_private() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as Flags;
    Ok(rustix::mount::mount_change(c"/", Flags::REC | Flags::PRIVATE)?)
}

/// Detaches what is mounted on top at `target`.
pub(crate) fn detach(target: &CStr) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::DETACH)?)
}

/// Makes the working directory the root; the old root is stacked on top of it, to be detached.
pub(crate) fn pivot_here() -> io::Result<()> {
    Ok(rustix::process::pivot_root(c".", c".")?)
}

/// A detached copy of the mount at `path`, with the mounts below it when `recursive`.
pub(crate) fn clone_mount(path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let below = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | below;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// A detached copy of the mount at an open folder, without the mounts below it.
pub(crate) fn clone_open_mount(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(folder, c"", flags)?)
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
    Ok(rustix::mount::move_mount(tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Attaches a detached mount on an open folder.
pub(super) fn attach_open(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", place, c"", flags)?)
}

/// Detaches the mount that a descriptor is of, by its name in `descriptors`, which is this process's `/proc/self/fd` and
/// becomes its working directory: no path can lead elsewhere.
pub(super) fn detach_open(tree: BorrowedFd<'_>, descriptors: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(descriptors)?;
    Ok(rustix::mount::unmount(tree.as_raw_fd().to_string(), UnmountFlags::DETACH)?)
}

/// A new, detached instance of a file system that takes no options.
pub(super) fn new_filesystem(kind: &CStr, attributes: u64) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = u32::try_from(attributes).map_err(io::Error::other)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Whether the file system at `path` is read-only.
pub(super) fn is_read_only(path: &CStr) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(path)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Changes the ids that file accesses are made with, and keeps all capabilities while doing so.
pub(super) fn set_filesystem_ids(id: u32) -> io::Result<()> {
    if id != 0 {
        rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    }
    // SAFETY: both take plain numbers and cannot fail in a way that harms us.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
    if id == 0 {
        rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::empty())?;
    }
    // An invalid id changes nothing and answers the current one.
    // SAFETY: plain numbers.
    let current = unsafe { libc::setfsuid(u32::MAX) };
    if u32::try_from(current) == Ok(id) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
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
pub(super) struct Child(Pid);

/// Makes a copy of this process.
pub(super) fn copy() -> io::Result<Copy> {
    // SAFETY: this process has one thread, so the copy has all of it and no lock is held by a thread that is not there.
    let child = check(unsafe { libc::fork() }.into())?;
    let child = i32::try_from(child).map_err(io::Error::other)?;
    Ok(Pid::from_raw(child).map_or(Copy::Copy, |child| Copy::Original(Child(child))))
}

/// Ends a copy without running anything that belongs to the original.
pub(super) fn end_copy(has_failed: bool) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(has_failed.into()) }
}

impl Child {
    /// Waits for its end.
    pub(super) fn reap(self) -> io::Result<()> {
        retry_on_intr(|| rustix::process::waitpid(Some(self.0), WaitOptions::empty()))?;
        Ok(())
    }
}

/// Enters a user namespace.
pub(crate) fn enter_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::User))?)
}

/// Becomes user and group 0, without other groups where the namespace lets us drop them.
pub(crate) fn become_root(drop_groups: bool) -> io::Result<()> {
    if drop_groups {
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    Ok(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
}

/// Sets effective, permitted and no inheritable capabilities.
pub(crate) fn set_capabilities(keep: u64) -> io::Result<()> {
    let kept = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Lowers a resource limit to `most`; a lower hard limit stays as it is.
pub(crate) fn limit_resource(resource: Resource, most: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let most = Some(hard.map_or(most, |hard| hard.min(most)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Installs a seccomp program for this process and everything it starts.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    const SET_MODE_FILTER: c_int = 1;
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which is valid for the length given, and does not write to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Makes the standard descriptors copies of `from`.
pub(super) fn replace_standard_descriptors(from: BorrowedFd<'_>) -> io::Result<()> {
    rustix::stdio::dup2_stdin(from)?;
    rustix::stdio::dup2_stdout(from)?;
    Ok(rustix::stdio::dup2_stderr(from)?)
}

/// Sets the mask of permission bits that new files do not get.
pub(crate) fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// The version of Landlock, or why there is none.
pub(super) fn landlock_version() -> io::Result<c_long> {
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: asking for the version takes neither structure nor size.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, 1u32) })
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
