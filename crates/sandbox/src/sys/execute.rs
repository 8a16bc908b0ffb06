//! Starting this very program anew in another role.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use tokio::process::Command;

use super::check;
use super::owned;
use super::process;
use super::process::Child;
use super::process::Forked;

/// The first descriptor that the new process is given.
const FIRST: RawFd = 3;

/// Starts this program with these arguments, an empty environment, and these descriptors from 3 on. It ends when this
/// process ends.
pub(crate) fn this_program(arguments: &[String], fds: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let path = CString::new("/proc/self/exe").expect("a plain path");
    let texts: Vec<CString> =
        arguments.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const libc::c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // Above every number that a descriptor is to get.
    let raised: Vec<OwnedFd> = fds.iter().map(|fd| raise(*fd)).collect::<io::Result<_>>()?;
    match process::fork(0)? {
        Forked::Parent(child) => Ok(child),
        Forked::Child => {
            let failed = become_program(&path, &pointers, &raised);
            process::exit_copy(failed.raw_os_error().unwrap_or(1))
        }
    }
}

/// Gives a program that is about to be started these descriptors from 3 on. The answer must live until it is.
///
/// Where the runtime keeps one of its own at these numbers, to hear why the start failed, it does not hear.
pub(crate) fn hand_down(command: &mut Command, fds: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
    let raised: Vec<OwnedFd> = fds.iter().map(|fd| raise(*fd)).collect::<io::Result<_>>()?;
    let numbers: Vec<RawFd> = raised.iter().map(AsRawFd::as_raw_fd).collect();
    let place = move || {
        for (to, from) in (FIRST..).zip(&numbers) {
            // SAFETY: plain numbers; in the copy that becomes the program, nobody else uses them.
            check(unsafe { libc::dup2(*from, to) })?;
        }
        Ok(())
    };
    // SAFETY: `place` makes only system calls that are safe between fork and exec.
    unsafe { command.pre_exec(place) };
    Ok(raised)
}

fn raise(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: an open descriptor and a plain number.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) })
}

/// Returns only when it fails.
fn become_program(path: &CString, arguments: &[*const libc::c_char], fds: &[OwnedFd]) -> io::Error {
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    let prepare = || {
        process::die_with_parent()?;
        let mut to = FIRST;
        for fd in fds {
            // SAFETY: the numbers belong to nobody in this copy that still uses them.
            check(unsafe { libc::dup2(fd.as_raw_fd(), to) })?;
            to += 1;
        }
        process::close_from(to.cast_unsigned())?;
        process::unblock_signals()
    };
    if let Err(error) = prepare() {
        return error;
    }
    // SAFETY: NUL-terminated strings and lists that end in a null pointer, all alive.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
