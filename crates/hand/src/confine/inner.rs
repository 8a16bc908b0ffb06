//! The user namespace that is entered last where root does not make the walls.
//!
//! There the hand is born into a user namespace, and everything that it makes belongs to that one: mounts, network,
//! processes. Whoever is root in the same namespace would have power over all of it, and only the filter of system calls
//! would be in his way. So a second user namespace is made inside of the first, with the same ids: root in there has power
//! over nothing that was made before. It also is where the kernel counts the processes of all its users together.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::process::Resource;

use super::bound_counts;
use super::error::Error;
use super::error::Step;
use super::sys;
use super::sys::Copy;

/// What says that the maps are written; that everything is done; and how the number of the process ends.
const MAPPED: u8 = b'm';
const DONE: u8 = b'd';
const END: u8 = b'\n';
/// Longest number of a process.
const DIGITS_MAX: usize = 20;

/// Makes the namespace, in which at most so many processes can be alive at once. Needs the host's `/proc` in sight.
pub(super) fn make(processes_max: u64) -> Result<OwnedFd, Error> {
    let users = own_map("/proc/self/uid_map").step("read the map of users")?;
    let groups = own_map("/proc/self/gid_map").step("read the map of groups")?;
    let (mut ours, mut theirs) = UnixStream::pair().step("make a pair of sockets")?;
    let child = match sys::copy().step("start a process for the user namespace inside")? {
        Copy::Original(child) => child,
        Copy::Copy => {
            drop(ours);
            sys::end_copy(settle(&mut theirs, processes_max).is_err())
        }
    };
    drop(theirs);
    let made = take(&mut ours, &users, &groups).step("make the user namespace inside");
    drop(ours);
    child.reap().step("wait for the process of the user namespace inside")?;
    made
}

/// The copy's part: makes the namespace, and stays in it until the original has hold of it.
fn settle(original: &mut UnixStream, processes_max: u64) -> io::Result<()> {
    // The namespace inherits this as its bound on all its users together.
    sys::limit_resource(Resource::Nproc, processes_max)?;
    sys::unshare(libc::CLONE_NEWUSER)?;
    // This process has another number in the host's `/proc` than in its own namespace.
    let number = std::fs::read_link("/proc/self")?;
    original.write_all(number.as_os_str().as_encoded_bytes())?;
    original.write_all(&[END])?;
    expect(original, MAPPED)?;
    bound_counts()?;
    original.write_all(&[DONE])?;
    original.read(&mut [0]).map(drop)
}

/// The original's part: writes the maps, and takes hold of the namespace.
fn take(copy: &mut UnixStream, users: &str, groups: &str) -> io::Result<OwnedFd> {
    let mut number = String::new();
    loop {
        let mut byte = [0];
        copy.read_exact(&mut byte)?;
        match byte[0] {
            END => break,
            digit if digit.is_ascii_digit() && number.len() < DIGITS_MAX => number.push(char::from(digit)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    std::fs::write(format!("/proc/{number}/uid_map"), users)?;
    std::fs::write(format!("/proc/{number}/gid_map"), groups)?;
    let namespace = File::open(format!("/proc/{number}/ns/user"))?;
    copy.write_all(&[MAPPED])?;
    expect(copy, DONE)?;
    Ok(namespace.into())
}

fn expect(stream: &mut UnixStream, word: u8) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte[0] == word { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The ids of this namespace, each as itself. A part must not be mapped across two parts of the map above it.
fn own_map(path: &str) -> io::Result<String> {
    let map = std::fs::read_to_string(path)?;
    let part = |line: &str| {
        let mut numbers = line.split_whitespace();
        let (first, count) = (numbers.next()?, numbers.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    map.lines().map(part).collect::<Option<String>>().ok_or_else(|| io::ErrorKind::InvalidData.into())
}
