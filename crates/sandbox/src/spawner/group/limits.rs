//! Writing the bounds of a sandbox into its groups.

use std::io;
use std::path::Path;

use super::Controller;
use crate::Limits;

const CPU_PERIOD_MICROS: u64 = 100_000;
/// Thousandths of a processor that have the usual weight: what a sandbox is granted by default.
const USUAL_CPU_MILLIS: u64 = 2000;
const USUAL_WEIGHT: u64 = 100;
const WEIGHT_MAX: u64 = 10_000;
const USUAL_SHARES: u64 = 1024;
const SHARES_MIN: u64 = 2;

/// Bounds a group of version 2 by one of its controllers.
pub(super) fn unified(controller: Controller, folder: &Path, limits: &Limits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let memory = limits.memory_bytes_max;
            std::fs::write(folder.join("memory.max"), memory.to_string())?;
            // Above this the kernel reclaims and slows the sandbox down before anything has to die.
            std::fs::write(folder.join("memory.high"), (memory / 10 * 9).to_string())?;
            write_if_present(&folder.join("memory.swap.max"), "0")?;
            // The hog dies, not the hand and the shells.
            write_if_present(&folder.join("memory.oom.group"), "0")
        }
        Controller::Pids => std::fs::write(folder.join("pids.max"), limits.processes_max.to_string()),
        Controller::Cpu => {
            let text = format!("{} {CPU_PERIOD_MICROS}", quota(limits));
            std::fs::write(folder.join("cpu.max"), text)?;
            let weight = u64::from(limits.cpu_millis_max) * USUAL_WEIGHT / USUAL_CPU_MILLIS;
            write_if_present(&folder.join("cpu.weight"), &weight.clamp(1, WEIGHT_MAX).to_string())
        }
        Controller::Accounting | Controller::Freezer => Ok(()),
    }
}

/// Bounds a group of version 1.
pub(super) fn separate(controller: Controller, folder: &Path, limits: &Limits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let memory = limits.memory_bytes_max.to_string();
            std::fs::write(folder.join("memory.limit_in_bytes"), &memory)?;
            // Memory and swap together; only there when the kernel counts swap.
            write_if_present(&folder.join("memory.memsw.limit_in_bytes"), &memory)
        }
        Controller::Pids => std::fs::write(folder.join("pids.max"), limits.processes_max.to_string()),
        Controller::Cpu => {
            std::fs::write(folder.join("cpu.cfs_period_us"), CPU_PERIOD_MICROS.to_string())?;
            std::fs::write(folder.join("cpu.cfs_quota_us"), quota(limits).to_string())?;
            let shares = u64::from(limits.cpu_millis_max) * USUAL_SHARES / USUAL_CPU_MILLIS;
            write_if_present(&folder.join("cpu.shares"), &shares.max(SHARES_MIN).to_string())
        }
        Controller::Accounting | Controller::Freezer => Ok(()),
    }
}

/// Microseconds of processor time in each period; the kernel refuses less than a thousand.
fn quota(limits: &Limits) -> u64 {
    (u64::from(limits.cpu_millis_max) * CPU_PERIOD_MICROS / 1000).max(1000)
}

fn write_if_present(path: &Path, text: &str) -> io::Result<()> {
    match std::fs::write(path, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Control files cannot be created, which is how an absent one shows.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.exists() => Ok(()),
        other => other,
    }
}
