//! The walls: a fresh process, started by the spawner in new namespaces, shuts itself in before it serves.
//!
//! The order is the point. While the host's file tree is still visible, everything that will be needed from it is captured
//! as detached mounts. Then the root changes and the host's tree goes away; only after that is anything inside touched by
//! path, for a session's files may come from a hostile former life. Privilege is given up last: user namespace,
//! capabilities, `no_new_privs`, Landlock, seccomp.
//!
//! Invariants: no descriptor of the host survives except the control socket; a step that fails ends the process, and its
//! name goes to the spawner. Only Landlock, which is behind walls that suffice, may be missing.

mod calls;
mod container;
mod counts;
pub(crate) mod error;
mod furnish;
pub(crate) mod identity;
mod inner;
mod landlock;
pub mod live;
mod netlink;
pub mod network;
mod overlay;
mod probe;
mod root;
pub(crate) mod seccomp;
pub(crate) mod sys;

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

pub use container::Container;
pub use container::enter_container;
pub use counts::bound_counts;
pub use error::Error;
use error::Step;
pub use furnish::MASKED_FOLDERS;
pub use probe::Probe;
pub use root::MASKED_FILES;
pub use sys::folder;

/// The descriptor of the user namespace that is entered last; only open for [`Identity::Range`].
pub const USER_NAMESPACE_FD: RawFd = 4;
/// Most folders that a root file system is made of. Their names and those of one overlay fit into a page of mount options.
pub const LOWERS_MAX: usize = 64;

/// How the reason of failed walls begins when the file system of a layer cannot map owners.
pub const UNMAPPABLE: &str = "map the owners of a layer";

/// Files in `/etc` that name the machine, and their text.
pub const NAMES: [(&str, &str); 3] = [
    ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n"),
    ("hostname", "sandbox\n"),
    ("resolv.conf", "nameserver 198.18.0.53\noptions timeout:2 attempts:1\n"),
];

/// What the walls enclose. Every path is one of the host, absolute, and under the control of the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Who the processes inside are on the host.
    pub identity: Identity,
    /// An empty folder to be mounted on. Shared by all sandboxes: each mounts in its own namespace.
    pub stage: PathBuf,
    /// The folders that the root file system is made of, none of which is written to: the top one first.
    pub lowers: Vec<PathBuf>,
    /// A folder with `upper` and `work`: what the session writes.
    pub writable: PathBuf,
    /// Further folders to show inside.
    pub binds: Vec<Bind>,
    /// Folders of the host that can be written to inside, although nothing reaches the host.
    pub overlays: Vec<Overlay>,
    /// Whether `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` are to be written: the lower root is not ours.
    pub writes_names: bool,
    /// Size of `/dev/shm`.
    pub shared_memory_bytes_max: u64,
    /// Processes alive at once, as a resource limit.
    pub processes_max: u64,
    /// Private memory of one process, as a resource limit; for hosts without a memory control group.
    pub data_bytes_max: Option<u64>,
    /// Largest file, as a resource limit.
    pub file_bytes_max: Option<u64>,
    /// Whether connections to the outside are caught and handed over; without that, they are refused.
    pub has_network: bool,
    /// Environment of shells and tools, over what they have anyway.
    pub variables: Vec<(String, String)>,
}

/// Who the processes inside are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Root makes the walls; the user namespace on [`USER_NAMESPACE_FD`], whose ids start at `first`, is entered last.
    Range {
        /// Host id of the user 0 inside.
        first: u32,
    },
    /// The process was born into a user namespace, with its ids mapped; one inside of that is entered last.
    Entered {
        /// Whether groups may be changed inside, which a map of a single id rules out.
        has_groups: bool,
    },
}

impl Identity {
    /// The user namespace that is to be entered last, if there is one: it was passed to this process.
    pub(crate) fn user_namespace(self) -> Result<Option<OwnedFd>, Error> {
        match self {
            Self::Range { .. } => {
                let namespace = sys::inherited(USER_NAMESPACE_FD);
                namespace.map(Some).ok_or_else(|| Error::new("find the user namespace", "it was not passed"))
            }
            Self::Entered { .. } => Ok(None),
        }
    }
}

/// A folder of the host to show inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it is inside: absolute, without `..`.
    pub target: PathBuf,
    /// Whether it can be written to.
    pub is_writable: bool,
    /// Whether it may stay without mapped owners if its file system cannot map them.
    pub may_be_unmapped: bool,
}

/// A folder of the host to show inside, with an overlay of its own: at the bottom the host's folder, above it the folders
/// of the same path in each of [`Spec::lowers`], at the top what the session writes.
///
/// Where the host's folder is on a file system that cannot map owners, there is no overlay: then the bind that the target
/// lies in shows it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it is inside: absolute, without `..`.
    pub target: PathBuf,
}

/// Raises the walls around this process. When it returns, the process is shut in for good. Answers the listeners for
/// connections to the outside, which are to be handed over.
pub fn enter(spec: &Spec) -> Result<Vec<OwnedFd>, Error> {
    let user_namespace = spec.identity.user_namespace()?;
    sys::set_umask(0);
    identity::die_with_the_spawner()?;
    // Not before now: while this process waited, the spawner may have mounted something for the session, and what it has
    // unmounted must not be held.
    sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace")?;
    sys::unshare(libc::CLONE_NEWCGROUP).step("make a control group namespace")?;
    let captured = root::assemble(spec, user_namespace.as_ref().map(AsFd::as_fd))?;
    network::raise_loopback().step("bring the loopback device up")?;
    let listeners = if spec.has_network { network::open()? } else { Vec::new() };
    let last = if let Some(namespace) = user_namespace {
        namespace
    } else {
        let inner = inner::make(spec.processes_max)?;
        // A mount that is attached nowhere counts as a namespace, so not before all are captured.
        bound_counts().step("bound what may be made inside")?;
        inner
    };
    root::pivot()?;
    furnish::furnish(spec, captured)?;
    rustix::system::sethostname(b"sandbox").map_err(std::io::Error::from).step("name the machine")?;
    sys::set_umask(0o022);
    identity::give_up_privilege(spec, &last)?;
    landlock::enter()?;
    seccomp::install()?;
    Ok(listeners)
}

/// A path for a system call.
pub(crate) fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new("read a path", "it holds a NUL byte"))
}
