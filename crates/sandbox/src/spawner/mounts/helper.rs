//! The processes that change what a sandbox has mounted.
//!
//! One enters the sandbox's mount namespace and works there. Before it does, it must have hold of the host's folders, which
//! nobody sees from in there. Root captures them itself. Who is not root may capture mounts only in a mount namespace of his
//! own: a second process makes one, in a user namespace like the sandbox's, and passes what it has captured to the first,
//! which stays a process of the host's until it enters the sandbox's namespaces. That a mount may come from elsewhere is the
//! kernel's rule for those that are attached nowhere.
//!
//! Neither is seen from inside: they stay in the host's process namespace. They end with the spawner, and leave nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use hand::confine::live;

use crate::Access;
use crate::Mount;
use crate::spawner::cell::Cell;
use crate::spawner::owners::Owners;
use crate::sys::namespace;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::process::Forked;
use crate::sys::socket;

/// The first byte of what is said.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const REASON_BYTES_MAX: usize = 4096;
/// How long the one that enters waits for what the other captures.
const CAPTURE_MS_MAX: i32 = 10_000;

/// What is to be done in a sandbox.
#[derive(Debug)]
pub(super) enum Change {
    /// These folders are shown, in this order.
    Attach(Vec<(PathBuf, Mount)>),
    /// This mount goes.
    Detach(OwnedFd),
}

/// Why something is not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be.
    Said(String),
    /// Whoever did it has ended without a word: it may be done.
    Silent,
}

/// The processes that are at it.
#[derive(Debug)]
pub(super) struct Helper {
    entering: Child,
    capturing: Option<Child>,
    words: OwnedFd,
}

impl Helper {
    /// Starts to change what a sandbox has mounted.
    pub(super) fn start(owners: &Owners, cell: &Cell, change: &Change) -> io::Result<Self> {
        let (words, theirs) = socket::message_pair()?;
        let (captured, capturing) = match change {
            Change::Attach(folders) if cell.range.is_none() => {
                let (from, to) = socket::message_pair()?;
                (Some(from), Some(capture_elsewhere(owners, folders, &to)?))
            }
            Change::Attach(_) | Change::Detach(_) => (None, None),
        };
        match process::fork(0)? {
            Forked::Parent(entering) => Ok(Self { entering, capturing, words }),
            Forked::Child => {
                let done = enter(cell, change, captured.as_ref(), &theirs);
                process::exit_copy(i32::from(speak(&theirs, done).is_err()))
            }
        }
    }

    /// The process to watch.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.entering.fd.as_fd()
    }

    /// Ends it, whatever it has done.
    pub(super) fn end(self) {
        for child in [Some(self.entering), self.capturing].into_iter().flatten() {
            drop(child.kill().and_then(|()| child.reap(true)));
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        self.entering.reap(false).map(|status| status.is_some())
    }

    /// What came of it, after it has ended: the mounts that were attached, in their order.
    pub(super) fn outcome(self) -> Result<Vec<OwnedFd>, Failure> {
        if let Some(capturing) = self.capturing {
            drop(capturing.kill().and_then(|()| capturing.reap(true)));
        }
        let mut trees = Vec::new();
        let mut buffer = [0; REASON_BYTES_MAX];
        loop {
            match socket::receive(self.words.as_fd(), &mut buffer) {
                Ok((0, _)) | Err(_) => return Err(Failure::Silent),
                Ok((length, attached)) => match (&buffer[..length], attached.into_iter().next()) {
                    ([DONE], Some(tree)) => trees.push(tree),
                    ([DONE], None) => return Ok(trees),
                    ([_, reason @ ..], _) => {
                        return Err(Failure::Said(String::from_utf8_lossy(reason).into_owned()));
                    }
                    ([], _) => return Err(Failure::Silent),
                },
            }
        }
    }
}

/// Says how something ended.
fn speak(words: &OwnedFd, done: Result<(), String>) -> io::Result<()> {
    match done {
        Ok(()) => socket::send(words.as_fd(), &[DONE], &[]),
        Err(reason) => socket::send(words.as_fd(), &[&[FAILED], reason.as_bytes()].concat(), &[]),
    }
}

/// Starts the process that captures folders for who is not root.
fn capture_elsewhere(owners: &Owners, folders: &[(PathBuf, Mount)], to: &OwnedFd) -> io::Result<Child> {
    match owners.fork()? {
        Forked::Parent(child) => Ok(child),
        Forked::Child => {
            let done = (|| {
                process::die_with_parent().map_err(text)?;
                namespace::close_all_but(&[to.as_fd()]).map_err(text)?;
                namespace::have_own_mounts().map_err(text)?;
                folders.iter().try_for_each(|(folder, mount)| {
                    let tree = capture(folder, mount, None)?;
                    socket::send(to.as_fd(), &[DONE], &[tree.as_fd()]).map_err(text)
                })
            })();
            process::exit_copy(i32::from(speak(to, done).is_err()))
        }
    }
}

/// Runs in the process that enters the sandbox.
fn enter(cell: &Cell, change: &Change, captured: Option<&OwnedFd>, words: &OwnedFd) -> Result<(), String> {
    process::die_with_parent().map_err(text)?;
    let range = cell.range.as_ref();
    let tree = match change {
        Change::Attach(_) => None,
        Change::Detach(tree) => Some(tree.as_fd()),
    };
    let kept = [Some(cell.child.fd.as_fd()), Some(words.as_fd()), captured.map(AsFd::as_fd), tree];
    let namespace = range.map(|range| range.namespace.as_fd());
    let kept: Vec<BorrowedFd<'_>> = kept.into_iter().chain([namespace]).flatten().collect();
    namespace::close_all_but(&kept).map_err(text)?;
    let descriptors = descriptors().map_err(text)?;
    match (change, captured) {
        (Change::Detach(tree), _) => {
            join(cell)?;
            live::detach(tree.as_fd(), descriptors.as_fd()).map_err(text)
        }
        (Change::Attach(folders), None) => {
            namespace::have_own_mounts().map_err(text)?;
            let capture_one = |(folder, mount): &(PathBuf, Mount)| capture(folder, mount, namespace);
            let trees: Vec<OwnedFd> = folders.iter().map(capture_one).collect::<Result<_, _>>()?;
            join(cell)?;
            attach(folders, trees, &descriptors, words)
        }
        (Change::Attach(folders), Some(captured)) => {
            let trees: Vec<OwnedFd> = folders.iter().map(|_| receive(captured)).collect::<Result<_, _>>()?;
            join(cell)?;
            attach(folders, trees, &descriptors, words)
        }
    }
}

/// This process's descriptors, as the host shows them.
fn descriptors() -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    File::options().read(true).custom_flags(flags).open("/proc/self/fd")
}

/// Enters the mount namespace of a sandbox, and acts as the root of whoever has power over it. Where root did not make the
/// walls that is a user namespace around the sandbox's own.
fn join(cell: &Cell) -> Result<(), String> {
    let entered = (|| {
        if cell.range.is_none() {
            let owner = namespace::owner_of_mounts(cell.child.pid)?;
            namespace::join(owner.as_fd(), libc::CLONE_NEWUSER)?;
        }
        namespace::join(cell.child.fd.as_fd(), libc::CLONE_NEWNS)
    })();
    entered.map_err(|error| format!("enter the sandbox: {error}"))?;
    if let Some(range) = &cell.range {
        process::act_as(range.first).map_err(text)?;
    }
    // A change of identity cancels it.
    process::die_with_parent().map_err(text)
}

fn attach(
    folders: &[(PathBuf, Mount)],
    trees: Vec<OwnedFd>,
    descriptors: &File,
    words: &OwnedFd,
) -> Result<(), String> {
    for ((_, mount), tree) in folders.iter().zip(trees) {
        live::attach(tree.as_fd(), Path::new(mount.target.as_str()), descriptors.as_fd()).map_err(text)?;
        socket::send(words.as_fd(), &[DONE], &[tree.as_fd()]).map_err(text)?;
    }
    Ok(())
}

fn capture(folder: &Path, mount: &Mount, owners: Option<BorrowedFd<'_>>) -> Result<OwnedFd, String> {
    live::capture(folder, mount.access == Access::ReadWrite, owners).map_err(text)
}

/// The next mount that the other process has captured.
fn receive(captured: &OwnedFd) -> Result<OwnedFd, String> {
    process::wait_readable(&[captured.as_fd()], CAPTURE_MS_MAX).map_err(text)?;
    let mut buffer = [0; REASON_BYTES_MAX];
    let (length, attached) = socket::receive(captured.as_fd(), &mut buffer).map_err(text)?;
    match (&buffer[..length], attached.into_iter().next()) {
        ([DONE], Some(tree)) => Ok(tree),
        ([FAILED, reason @ ..], _) => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("the process that captures folders ended early".to_owned()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn text(error: impl ToString) -> String {
    error.to_string()
}
