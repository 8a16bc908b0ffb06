//! Giving up every privilege, in the order in which that is possible.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Signal;
use rustix::thread::CapabilitySet;

use super::Identity;
use super::Spec;
use super::error::Error;
use super::error::Step;
use super::sys;

/// What root inside may still do to its own files and processes: `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`,
/// `CAP_FSETID`, `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`, `CAP_NET_BIND_SERVICE`, `CAP_SYS_CHROOT`. They count inside the
/// user namespace only.
const KEPT: [u64; 9] = [0, 1, 3, 4, 5, 6, 7, 10, 18];
const CAPABILITY_MAX: u64 = 63;

const OPEN_FILES_MAX: u64 = 65_536;
const LOCKED_BYTES_MAX: u64 = 64 << 20;

/// Ends this process when the spawner ends. A change of identity cancels it, so it is asked for again at the end.
pub(crate) fn die_with_the_spawner() -> Result<(), Error> {
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    tied.map_err(io::Error::from).step("tie this process to the spawner")
}

/// Enters the last user namespace, and drops everything that the processes inside do not need.
///
/// Mount, network, process and host name namespaces stay owned by the namespace that made them: not even every capability
/// inside gives power over them.
pub(super) fn give_up_privilege(spec: &Spec, user_namespace: &OwnedFd) -> Result<(), Error> {
    let drops_groups = match spec.identity {
        Identity::Range { .. } => {
            sys::set_filesystem_ids(0).step("act as root again")?;
            true
        }
        Identity::Entered { has_groups } => has_groups,
    };
    sys::enter_user_namespace(user_namespace.as_fd()).step("enter the user namespace")?;
    sys::become_root(drops_groups).step("become the sandbox's root")?;
    let processes = Some((Resource::Nproc, spec.processes_max));
    let data = spec.data_bytes_max.map(|bytes| (Resource::Data, bytes));
    let file = spec.file_bytes_max.map(|bytes| (Resource::Fsize, bytes));
    limit_resources([processes, data, file].into_iter().flatten())?;
    shed(&KEPT, &KEPT)?;
    die_with_the_spawner()
}

/// Drops everything that the processes of a container do not need, in the user namespace that its runtime chose.
///
/// The number of processes is not limited here but by its control group: the kernel counts them by user, and containers
/// share users.
pub(super) fn give_up_container_privilege(file_bytes_max: Option<u64>) -> Result<(), Error> {
    sys::become_root(true).step("become the container's root")?;
    limit_resources(file_bytes_max.map(|bytes| (Resource::Fsize, bytes)))?;
    shed(&KEPT, &KEPT)
}

/// Gives up every capability but `kept`, and for good all but `bounding`, and what could bring any back or show this
/// process's memory.
pub(crate) fn shed(bounding: &[u64], kept: &[u64]) -> Result<(), Error> {
    drop_capabilities(bounding, kept)?;
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from).step("give up new privileges")?;
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(io::Error::from).step("hide this process's memory")
}

type Limit = (Resource, u64);

fn limit_resources(further: impl IntoIterator<Item = Limit>) -> Result<(), Error> {
    let mut limits =
        vec![(Resource::Core, 0), (Resource::Nofile, OPEN_FILES_MAX), (Resource::Memlock, LOCKED_BYTES_MAX)];
    limits.extend(further);
    limits.into_iter().try_for_each(|(kind, most)| sys::limit_resource(kind, most)).step("limit resources")
}

fn drop_capabilities(bounding: &[u64], kept: &[u64]) -> Result<(), Error> {
    let kept = kept.iter().fold(0, |bits, capability| bits | 1 << capability);
    for capability in (0..=CAPABILITY_MAX).filter(|capability| !bounding.contains(capability)) {
        let capability = CapabilitySet::from_bits_retain(1 << capability);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Numbers past the kernel's last capability.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(io::Error::from(error)).step("drop a capability"),
        }
    }
    let cleared = rustix::thread::clear_ambient_capability_set();
    cleared.map_err(io::Error::from).step("drop ambient capabilities")?;
    sys::set_capabilities(kept).step("drop capabilities")
}
