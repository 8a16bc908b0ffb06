//! What may be made in a user namespace, by the kernel's own count: a wall that stands whatever a filter lets through.
//!
//! Some of these things are charged to the account that owns the namespace as well, so that a sandbox without a bound of
//! its own could leave nothing to others.

use std::io;
use std::path::Path;

/// The bounds, by the name of the kernel's setting. Namespaces of every kind are made before.
const COUNTS: [(&str, u32); 11] = [
    ("max_user_namespaces", 0),
    ("max_mnt_namespaces", 0),
    ("max_pid_namespaces", 0),
    ("max_net_namespaces", 0),
    ("max_ipc_namespaces", 0),
    ("max_uts_namespaces", 0),
    ("max_cgroup_namespaces", 0),
    ("max_time_namespaces", 0),
    ("max_fanotify_groups", 0),
    ("max_inotify_instances", 32),
    ("max_inotify_watches", 65_536),
];

/// Sets the bounds in the user namespace of this process, which must have every capability there.
pub fn bound_counts() -> io::Result<()> {
    for (name, most) in COUNTS {
        let path = Path::new("/proc/sys/user").join(name);
        match std::fs::write(path, most.to_string()) {
            // Kernels that do not know the thing do not count it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}
