//! What the kernel says of this machine and of a process.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use super::file_system;
use crate::process;

/// Linux counts processor time in hundredths of a second towards programs, whatever it uses inside.
const TICK: Duration = Duration::from_millis(10);

/// Processors, memory, kernel and file system, in one line.
pub(crate) fn describe(folder: &Path) -> Result<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let name = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism().context("count processors")?;
    let memory = field("/proc/meminfo", "MemTotal:")? / (1 << 20);
    let kernel = process::read(process::command("uname").arg("-sr"))?;
    let load = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    Ok(format!(
        "{count} × {}, {memory} GiB, {}, data on {}, load average before {}",
        name.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        file_system(folder)?,
        load.split(' ').next().unwrap_or_default()
    ))
}

/// Processor time that a process has used, its children excluded.
pub(crate) fn cpu(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).context("read the times of a process")?;
    // The name may hold spaces; what follows its closing parenthesis does not.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).context("find the times of a process")?;
    let ticks =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap_or(0)).sum::<u32>();
    Ok(TICK * ticks)
}

/// Memory of a process that lies in RAM, in MiB.
pub(crate) fn resident_mib(id: u32) -> Result<f64> {
    let kib = u32::try_from(field(&format!("/proc/{id}/status"), "VmRSS:")?)
        .context("read the memory of a process")?;
    Ok(f64::from(kib) / 1024.0)
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("find {name} in {path}"))
}
