//! Walls that are tried, each by the program that raises it in a sandbox.

use std::os::fd::AsRawFd;
use std::process::Command;

use hand::confine::Probe;

use crate::HAND;
use crate::Primitive;
use crate::sys::process;

/// Tries every wall in a process of its own.
pub(super) fn tried() -> Vec<Primitive> {
    let program = process::sealed_program(HAND);
    let run = |probe: Probe| {
        let program = program.as_ref().map_err(ToString::to_string)?;
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let output = Command::new(path).args(["--probe", probe.name()]).env_clear().output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    };
    Probe::ALL.into_iter().map(|probe| told(probe, run(probe))).collect()
}

fn told(probe: Probe, result: Result<String, String>) -> Primitive {
    let (name, cost, remedy) = match probe {
        Probe::UserNamespaces => (
            "user namespaces",
            "only root can make sandboxes",
            "see `sandboxes`; usual reasons are an AppArmor profile, a sysctl, or a container's own filter",
        ),
        Probe::Overlay => (
            "overlay in a user namespace",
            "only root can make sandboxes",
            "run kernel 5.11 or newer with CONFIG_OVERLAY_FS, and load the module `overlay`",
        ),
        Probe::Seccomp => ("seccomp", "no sandbox can be made", "run a kernel with CONFIG_SECCOMP_FILTER"),
        Probe::Landlock => (
            "Landlock",
            "one wall fewer behind the others",
            "run kernel 5.19 or newer with CONFIG_SECURITY_LANDLOCK and `landlock` in its list of security modules",
        ),
        Probe::Network => (
            "network of a sandbox",
            "no sandbox with a network can be made",
            "allow network namespaces; for ports besides those of the web, run a kernel with CONFIG_NF_TABLES, \
             CONFIG_NFT_NAT and CONFIG_NFT_REDIR",
        ),
    };
    let present = result.is_ok();
    let detail = result.unwrap_or_else(|reason| reason);
    Primitive { name, present, detail, cost, remedy: remedy.to_owned() }
}
