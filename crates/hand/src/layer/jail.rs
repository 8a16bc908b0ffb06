//! The walls of a worker: it sees one folder and nothing else. No `/proc`, no devices, no network.
//!
//! As with a sandbox, the host's tree goes first and privilege last. Nothing in the folder can be executed, and no bit or
//! attribute in it counts.

use std::os::fd::AsFd;

use super::LayerSpec;
use crate::confine::Error;
use crate::confine::Identity;
use crate::confine::bound_counts;
use crate::confine::c_path;
use crate::confine::error::Step;
use crate::confine::identity::die_with_the_spawner;
use crate::confine::identity::shed;
use crate::confine::seccomp;
use crate::confine::sys;
use crate::confine::sys::ATTRIBUTE_NO_DEV;
use crate::confine::sys::ATTRIBUTE_NO_EXEC;
use crate::confine::sys::ATTRIBUTE_NO_SUID;

/// What it takes to write files of any owner: `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`. They count inside
/// the user namespace only.
const KEPT: [u64; 4] = [0, 1, 3, 4];

/// Shuts this process in with the folder of `spec`, which is `/` from then on.
pub(super) fn enter(spec: &LayerSpec) -> Result<(), Error> {
    let user_namespace = spec.identity.user_namespace()?;
    sys::set_umask(0);
    die_with_the_spawner()?;
    sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace")?;
    sys::make_mounts_private().step("make mounts private")?;
    std::env::set_current_dir(&spec.stage).step("enter the stage")?;
    let tree = sys::clone_mount(&c_path(&spec.folder)?, false).step("capture the folder")?;
    let hold = ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEV | ATTRIBUTE_NO_EXEC;
    let owners = user_namespace.as_ref().map(AsFd::as_fd);
    sys::set_mount_attributes(tree.as_fd(), hold, owners, false).step("map the owners of the folder")?;
    sys::attach(tree.as_fd(), c"root").step("attach the folder")?;
    if user_namespace.is_none() {
        bound_counts().step("bound what may be made inside")?;
    }
    std::env::set_current_dir("root").step("enter the folder")?;
    sys::pivot_here().step("change the root")?;
    sys::detach(c".").step("let the host's tree go")?;
    std::env::set_current_dir("/").step("enter the folder")?;
    let drops_groups = match (spec.identity, user_namespace) {
        (Identity::Entered { has_groups }, _) => has_groups,
        (Identity::Range { .. }, namespace) => {
            let namespace =
                namespace.ok_or_else(|| Error::new("enter the user namespace", "none was given"))?;
            sys::enter_user_namespace(namespace.as_fd()).step("enter the user namespace")?;
            true
        }
    };
    sys::become_root(drops_groups).step("become the root of the user namespace")?;
    sys::limit_resource(rustix::process::Resource::Core, 0).step("limit resources")?;
    shed(&[], &KEPT)?;
    die_with_the_spawner()?;
    seccomp::install()
}
