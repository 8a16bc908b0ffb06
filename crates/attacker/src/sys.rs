//! System calls, by number and without any wrapper that might refuse first.
//!
//! This program has one thread, which is what makes `fork` without `exec` sound.

#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::ffi::CStr;
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::time::Duration;
use std::time::Instant;

use libc::c_int;
use libc::c_long;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

const NAMES: [(c_int, &str); 34] = [
    (libc::E2BIG, "E2BIG"),
    (libc::EACCES, "EACCES"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EBADF, "EBADF"),
    (libc::EBUSY, "EBUSY"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::EDQUOT, "EDQUOT"),
    (libc::EEXIST, "EEXIST"),
    (libc::EFAULT, "EFAULT"),
    (libc::EFBIG, "EFBIG"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::EINPROGRESS, "EINPROGRESS"),
    (libc::EINVAL, "EINVAL"),
    (libc::EIO, "EIO"),
    (libc::EISDIR, "EISDIR"),
    (libc::ELOOP, "ELOOP"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOENT, "ENOENT"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::ENXIO, "ENXIO"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EPERM, "EPERM"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EROFS, "EROFS"),
    (libc::ESRCH, "ESRCH"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
];

impl Errno {
    /// The error of the last call.
    fn last() -> Self {
        std::io::Error::last_os_error().into()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => formatter.write_str(name),
            None => write!(formatter, "errno {}", self.0),
        }
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// One argument of a call. Pointers can only be made of memory that outlives the call.
pub(crate) enum Argument<'a> {
    /// A number, a descriptor, or a null pointer.
    Number(i64),
    /// A text that ends in NUL.
    Text(&'a CStr),
    /// Memory that the kernel may read and write.
    Bytes(&'a mut [u8]),
}

/// Makes a call. The caller chooses arguments with which success changes nothing but this process.
pub(crate) fn call(number: c_long, arguments: &mut [Argument<'_>]) -> Result<i64, Errno> {
    let mut words = [0_i64; 6];
    for (word, argument) in words.iter_mut().zip(arguments.iter_mut()) {
        *word = match argument {
            Argument::Number(number) => *number,
            Argument::Text(text) => text.as_ptr().expose_provenance().cast_signed() as i64,
            Argument::Bytes(bytes) => bytes.as_mut_ptr().expose_provenance().cast_signed() as i64,
        };
    }
    // SAFETY: pointers among the words lead to memory that is borrowed for the whole call; the calls of this program
    // write no more than the structures that the callers have measured.
    let result = unsafe { libc::syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]) };
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// What became of work in a child process.
pub(crate) enum End {
    /// It answered this.
    Answer(Vec<u8>),
    /// A signal ended it before it answered.
    Signal(c_int),
    /// It ended or closed its side without an answer.
    Nothing,
    /// It took too long.
    Late,
    /// It could not be started.
    Failed(Errno),
}

/// Does work in a child that leads a process group of its own, and kills the whole group afterwards.
pub(crate) fn in_child(time: Duration, work: impl FnOnce() -> Vec<u8>) -> End {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return End::Failed(Errno::last());
    }
    // SAFETY: both descriptors are new and nobody else's.
    let (mut reader, mut writer) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: this program has one thread.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return End::Failed(Errno::last());
    }
    if child == 0 {
        // SAFETY: plain numbers.
        unsafe { libc::setpgid(0, 0) };
        drop(reader);
        let mut answer = work();
        answer.push(0);
        let told = writer.write_all(&answer).is_ok();
        // SAFETY: ends this child at once, without what the parent has registered.
        unsafe { libc::_exit(i32::from(!told)) }
    }
    drop(writer);
    let answer = listen(&mut reader, time);
    // SAFETY: plain numbers; the group holds only what the child has started.
    unsafe {
        // The child may not have got to it yet.
        libc::setpgid(child, child);
        if !matches!(answer, Answer::Closed) {
            libc::kill(-child, libc::SIGKILL);
        }
    }
    let status = wait(child);
    // SAFETY: as above; what the child left behind is ended once it cannot start more.
    unsafe { libc::kill(-child, libc::SIGKILL) };
    match answer {
        Answer::Whole(bytes) => End::Answer(bytes),
        Answer::Late => End::Late,
        Answer::Closed if libc::WIFSIGNALED(status) => End::Signal(libc::WTERMSIG(status)),
        Answer::Closed => End::Nothing,
    }
}

enum Answer {
    Whole(Vec<u8>),
    Closed,
    Late,
}

/// Reads up to the NUL that ends an answer.
fn listen(reader: &mut File, time: Duration) -> Answer {
    let start = Instant::now();
    let mut answer = Vec::new();
    loop {
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() || !is_readable(reader, left) {
            return Answer::Late;
        }
        let mut chunk = [0; 4096];
        match reader.read(&mut chunk) {
            Ok(0) | Err(_) => return Answer::Closed,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
        }
        if answer.last() == Some(&0) {
            answer.pop();
            return Answer::Whole(answer);
        }
    }
}

/// Waits until there is something to read, or the other side has gone.
pub(crate) fn is_readable(file: &impl AsRawFd, time: Duration) -> bool {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX).max(1);
    // SAFETY: one structure that we own.
    unsafe { libc::poll(&raw mut poll, 1, millis) > 0 }
}

/// Waits for a child and gives its status.
pub(crate) fn wait(child: libc::pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: a number that we own.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 && Errno::last().0 == libc::EINTR {}
    status
}

/// Starts a child that does something and ends; its id.
pub(crate) fn fork(work: impl FnOnce()) -> Result<libc::pid_t, Errno> {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            work();
            // SAFETY: ends this child at once.
            unsafe { libc::_exit(0) }
        }
        child if child < 0 => Err(Errno::last()),
        child => Ok(child),
    }
}

/// Sleeps until a signal comes.
pub(crate) fn pause() {
    // SAFETY: takes nothing.
    unsafe { libc::pause() };
}

/// Opens a path with flags of `open`.
pub(crate) fn open(path: &str, flags: c_int) -> Result<File, Errno> {
    let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: a text that ends in NUL, and plain flags.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NONBLOCK, 0o600) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes a socket.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<File, Errno> {
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Takes over a descriptor that a call has answered with.
pub(crate) fn own(answer: i64) -> Option<File> {
    let fd = c_int::try_from(answer).ok().filter(|fd| *fd > 2)?;
    // SAFETY: the callers pass answers of calls that make descriptors, and nothing else owns those.
    Some(unsafe { File::from_raw_fd(fd) })
}

/// The first call of the 32-bit convention: `getpid` with number 20.
#[cfg(target_arch = "x86_64")]
pub(crate) fn old_convention() -> i64 {
    let mut number: i64 = 20;
    // SAFETY: a call without arguments; the kernel keeps all registers but the one with the answer, and the high ones
    // that are named.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    number
}
