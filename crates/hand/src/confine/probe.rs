//! Trying one wall by itself, for the report on what a host can do. The process is of no other use afterwards.

use std::io;

use rustix::mount::MountFlags;

use super::network;
use super::seccomp;
use super::sys;

/// What can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A user namespace with every other kind inside, and a mount in it.
    UserNamespaces,
    /// An overlay mounted by the root of a user namespace.
    Overlay,
    /// The filters of a sandbox.
    Seccomp,
    /// The kernel's version of Landlock.
    Landlock,
    /// How connections to the outside are caught.
    Network,
}

impl Probe {
    /// Every probe.
    pub const ALL: [Self; 5] =
        [Self::UserNamespaces, Self::Overlay, Self::Seccomp, Self::Landlock, Self::Network];

    /// The word that names it on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespaces => "user-namespaces",
            Self::Overlay => "overlay",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Network => "network",
        }
    }

    /// Tries it; answers what is to be told about it.
    pub fn run(self) -> io::Result<String> {
        match self {
            Self::UserNamespaces => {
                enter_user_namespace()?;
                sys::unshare(
                    libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
                )?;
                network::raise_loopback().map(|()| "all kinds together".to_owned())
            }
            Self::Overlay => {
                enter_user_namespace()?;
                try_overlay().map(|()| "volatile, in a user namespace".to_owned())
            }
            Self::Seccomp => {
                rustix::thread::set_no_new_privs(true)?;
                seccomp::install().map(|()| "filters installed".to_owned()).map_err(io::Error::other)
            }
            Self::Landlock => sys::landlock_version().map(|version| format!("version {version}")),
            Self::Network => {
                // Root makes the network of a sandbox without a user namespace.
                if sys::unshare(libc::CLONE_NEWNET).is_err() {
                    enter_user_namespace()?;
                    sys::unshare(libc::CLONE_NEWNET)?;
                }
                network::raise_loopback()?;
                network::catch().map(|rung| rung.to_string())
            }
        }
    }
}

fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
    std::fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))?;
    sys::make_mounts_private()
}

fn try_overlay() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    sys::mount(c"tmpfs", c"/tmp", c"tmpfs", flags, c"size=1m")?;
    std::env::set_current_dir("/tmp")?;
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir(name)?;
    }
    let options = c"volatile,userxattr,lowerdir=lower,upperdir=upper,workdir=work";
    sys::mount(c"overlay", c"root", c"overlay", flags, options)?;
    std::fs::write("root/file", "written")
}
