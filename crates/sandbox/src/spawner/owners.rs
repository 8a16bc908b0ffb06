//! Who the processes and files of a sandbox belong to on the host.
//!
//! Root gives each running sandbox a range of ids of its own. The user namespace that maps a range is made once and kept
//! as a descriptor; nested namespaces are forbidden in it by its own count, whatever a filter lets through. Without root,
//! ids come from `newuidmap` where the host grants some, and are a single one otherwise.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use hand::confine;
use hand::confine::Identity;

use crate::Mode;
use crate::sys::process;
use crate::sys::process::Forked;
use crate::sys::process::Pid;

/// Ids that one sandbox has.
pub(crate) const IDS: u32 = 65_536;
/// First id of the ranges: above what systemd gives to containers.
pub(crate) const FIRST: u32 = 0x7000_0000;
/// How many ranges there are; the ids stay below 2^31.
pub(crate) const RANGES: u32 = 0x0fff;
/// Who the egress process is: the first id after the ranges.
pub(crate) const EGRESS: u32 = FIRST + RANGES * IDS;

/// Where ids come from.
#[derive(Debug)]
pub(super) enum Owners {
    /// Ranges that are free, and the next one that was never used.
    Ranges { free: Vec<Range>, next: u32, offset: u32 },
    /// What `newuidmap` and `newgidmap` are to be told.
    Subordinate(Subordinate),
    /// The maps of a single id.
    Single { users: Vec<u8>, groups: Vec<u8> },
}

/// A range of ids and the user namespace that maps it.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    /// How many processes all its users together may have.
    pub(super) processes_max: u64,
    pub(super) namespace: OwnedFd,
}

/// Ids granted to this user in `/etc/subuid` and `/etc/subgid`.
#[derive(Clone, Debug)]
pub(crate) struct Subordinate {
    newuidmap: PathBuf,
    newgidmap: PathBuf,
    users: (u32, u32),
    groups: (u32, u32),
}

impl Owners {
    /// The source of ids for a mode. `seed` spreads the ranges of several spawners on one host.
    pub(super) fn new(mode: Mode, seed: u64) -> Self {
        let (uid, gid) = process::ids();
        match (mode, Subordinate::find()) {
            (Mode::Root, _) => {
                let offset = u32::try_from(seed % u64::from(RANGES)).expect("a remainder of a u32");
                Self::Ranges { free: Vec::new(), next: 0, offset }
            }
            (Mode::SubordinateIds, Some(subordinate)) => Self::Subordinate(subordinate),
            (Mode::SubordinateIds, None) | (Mode::SingleId | Mode::Containers, _) => Self::Single {
                users: format!("0 {uid} 1\n").into_bytes(),
                groups: format!("0 {gid} 1\n").into_bytes(),
            },
        }
    }

    /// A range for a new sandbox whose users may have so many processes together; `None` in the modes that have no ranges.
    pub(super) fn take(&mut self, processes_max: u64) -> io::Result<Option<Range>> {
        let Self::Ranges { free, next, offset } = self else { return Ok(None) };
        if let Some(range) = free.pop_if(|range| range.processes_max == processes_max) {
            return Ok(Some(range));
        }
        // The bound of a namespace cannot be changed, but its ids can have another one.
        let (first, is_new) = match free.last() {
            Some(range) => (range.first, false),
            None if *next == RANGES => return Err(io::Error::other("every range of ids is in use")),
            None => (FIRST + (*offset + *next) % RANGES * IDS, true),
        };
        let namespace = make_namespace(first, processes_max)?;
        if is_new {
            *next += 1;
        } else {
            free.pop();
        }
        Ok(Some(Range { first, processes_max, namespace }))
    }

    /// Takes a range back from a sandbox that has ended.
    pub(super) fn give_back(&mut self, range: Option<Range>) {
        if let (Self::Ranges { free, .. }, Some(range)) = (self, range) {
            free.push(range);
        }
    }

    /// What a hand with this range is told.
    pub(super) fn identity(&self, range: Option<&Range>) -> Identity {
        match (self, range) {
            (Self::Ranges { .. }, Some(range)) => Identity::Range { first: range.first },
            (Self::Ranges { .. } | Self::Subordinate(_), _) => Identity::Entered { has_groups: true },
            (Self::Single { .. }, _) => Identity::Entered { has_groups: false },
        }
    }

    /// Copies this process into one that may remove whatever a sandbox has made.
    pub(super) fn fork(&self) -> io::Result<Forked> {
        let (mut ours, mut theirs) = UnixStream::pair()?;
        let flags = if matches!(self, Self::Ranges { .. }) { 0 } else { libc::CLONE_NEWUSER };
        let child = match process::fork(flags)? {
            Forked::Parent(child) => child,
            Forked::Child => {
                drop(ours);
                let mapped = theirs.read(&mut [0]).is_ok_and(|length| length == 1);
                return if mapped { Ok(Forked::Child) } else { process::exit_copy(1) };
            }
        };
        drop(theirs);
        let mapped = match self {
            Self::Ranges { .. } => Ok(()),
            Self::Subordinate(subordinate) => subordinate.map(child.pid),
            Self::Single { users, groups } => map_own(child.pid, users, groups),
        };
        if let Err(error) = mapped.and_then(|()| ours.write_all(b"m")) {
            drop(ours);
            child.reap(true)?;
            return Err(error);
        }
        Ok(Forked::Parent(child))
    }
}

fn map_own(pid: Pid, users: &[u8], groups: &[u8]) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    std::fs::write(format!("/proc/{pid}/uid_map"), users)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), groups)
}

/// A user namespace that maps [`IDS`] ids from `first`, without a process in it, and with so many at most.
fn make_namespace(first: u32, processes_max: u64) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let child = match process::fork(0)? {
        Forked::Parent(child) => child,
        Forked::Child => {
            drop(ours);
            // What the kernel counts by account is charged to the owner of the namespace too: that must not be root.
            // The namespace inherits the limit of who makes it as its bound on all its users together.
            let made = process::limit_processes(processes_max)
                .and_then(|()| process::act_as(first))
                .and_then(|()| process::unshare_users());
            process::exit_copy(i32::from(made.and_then(|()| settle(&mut theirs)).is_err()))
        }
    };
    drop(theirs);
    let made = (|| {
        ours.read_exact(&mut [0])?;
        let map = format!("0 {first} {IDS}\n");
        std::fs::write(format!("/proc/{}/uid_map", child.pid), &map)?;
        std::fs::write(format!("/proc/{}/gid_map", child.pid), &map)?;
        ours.write_all(b"m")?;
        ours.read_exact(&mut [0])?;
        File::open(format!("/proc/{}/ns/user", child.pid)).map(OwnedFd::from)
    })();
    drop(ours);
    child.reap(true)?;
    made
}

/// Runs in a new user namespace once its ids are mapped; ends when the parent has what it wants.
fn settle(parent: &mut UnixStream) -> io::Result<()> {
    parent.write_all(b"u")?;
    parent.read_exact(&mut [0])?;
    confine::bound_counts()?;
    parent.write_all(b"d")?;
    parent.read(&mut [0]).map(drop)
}

impl fmt::Display for Subordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((user, users), (group, groups)) = (self.users, self.groups);
        write!(f, "{users} users from {user}, {groups} groups from {group}")
    }
}

impl Subordinate {
    /// What this user may use, if the host grants enough and has the programs that map it.
    pub(crate) fn find() -> Option<Self> {
        let (uid, _) = process::ids();
        let name = user_name(uid);
        Some(Self {
            newuidmap: program("newuidmap")?,
            newgidmap: program("newgidmap")?,
            users: granted(Path::new("/etc/subuid"), uid, name.as_deref())?,
            groups: granted(Path::new("/etc/subgid"), uid, name.as_deref())?,
        })
    }

    /// Maps the ids of a process that waits in its new user namespace.
    pub(super) fn map(&self, pid: Pid) -> io::Result<()> {
        let (uid, gid) = process::ids();
        for (program, own, granted) in
            [(&self.newuidmap, uid, self.users), (&self.newgidmap, gid, self.groups)]
        {
            let (first, count) = granted;
            let numbers = [u32::try_from(pid).map_err(io::Error::other)?, 0, own, 1, 1, first, count];
            let output = Command::new(program).args(numbers.map(|number| number.to_string())).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("{}: {}", program.display(), said.trim())));
            }
        }
        Ok(())
    }
}

fn program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}

fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

/// The largest grant of at least a thousand ids: its first id and how many of it are used.
fn granted(file: &Path, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    let grants = std::fs::read_to_string(file).ok()?;
    let ours = grants.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let is_ours = Some(user) == name || user == uid.to_string();
        let first = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        (is_ours && count >= 1000).then_some((first, count.min(IDS - 1)))
    });
    ours.max_by_key(|(_, count)| *count)
}
