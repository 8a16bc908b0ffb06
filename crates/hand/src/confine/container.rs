//! The walls that can be added inside a container. Its runtime has made the others: namespaces, root file system, masks
//! over `/proc` and `/sys`, control groups, and a filter of its own.

use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::Error;
use super::error::Step;
use super::furnish::real_folder;
use super::identity;
use super::landlock;
use super::network;
use super::seccomp;
use super::sys;

/// Folders that a hand and its tools expect.
const FOLDERS: [&str; 5] = ["/workspace", "/mnt/session/outputs", "/mnt/session/uploads", "/root", "/tmp"];

/// What is asked of the walls in a container.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    /// Largest file, as a resource limit.
    pub file_bytes_max: Option<u64>,
    /// Whether connections to the outside are caught and handed over; without that, they are refused.
    pub has_network: bool,
}

/// Raises the walls around this process, the first one of a container. When it returns, it has what its tools may have and
/// no more. Answers the listeners for connections to the outside, which are to be handed over.
pub fn enter_container(container: Container) -> Result<Vec<OwnedFd>, Error> {
    sys::set_umask(0o022);
    // The hand keeps its own things there.
    real_folder(Path::new("/tmp"))?;
    for folder in FOLDERS {
        // Where a former life left something else, its successor does without.
        drop(DirBuilder::new().recursive(true).mode(0o755).create(folder));
    }
    // The runtime reads what the first process says; nothing in here is for it.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").step("open /dev/null")?;
    sys::replace_standard_descriptors(null.as_fd()).step("replace the standard descriptors")?;
    let listeners = if container.has_network {
        // The runtime mounts this file, with what the host's says.
        let [.., (name, text)] = super::NAMES;
        std::fs::write(format!("/etc/{name}"), text).step("name the name server")?;
        network::open()?
    } else {
        Vec::new()
    };
    identity::give_up_container_privilege(container.file_bytes_max)?;
    landlock::enter()?;
    seccomp::install()?;
    Ok(listeners)
}
