//! Process 1, which knows more than the others, and processes of the host.

use std::io::Read;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::probe::judge;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;

const SHUT: [i32; 2] = [libc::EACCES, libc::EPERM];
/// What of process 1 would tell about the server, or lead out.
const READ: [&str; 12] =
    ["environ", "mem", "maps", "smaps", "auxv", "exe", "root", "cwd", "fd", "ns/mnt", "io", "syscall"];
const WRITTEN: [&str; 2] = ["mem", "exe"];

const PTRACE_SEIZE: i64 = 0x4206;

/// Rows 10 to 13.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for file in READ {
        let attack = move |_: &Context| read(file);
        probes.push(Probe::new(10, format!("read /proc/1/{file}"), "EACCES", attack));
    }
    for file in WRITTEN {
        let attack = move |_: &Context| {
            judge(
                sys::open(&format!("/proc/1/{file}"), libc::O_WRONLY),
                &[libc::EACCES, libc::EPERM, libc::ENOENT],
            )
        };
        let row = if file == "exe" { 11 } else { 10 };
        probes.push(Probe::new(row, format!("open /proc/1/{file} for writing"), "EACCES", attack));
    }
    probes.push(Probe::new(10, "exempt process 1 from the out-of-memory killer", "EACCES", |_| {
        judge(std::fs::write("/proc/1/oom_score_adj", "-1000").map_err(Into::into), &SHUT)
    }));
    probes.push(Probe::new(11, "overwrite the running program", "ETXTBSY", |_| {
        judge(sys::open("/proc/self/exe", libc::O_WRONLY), &[libc::ETXTBSY, libc::EACCES, libc::EROFS])
    }));
    probes.push(Probe::new(11, "arguments of process 1", "no path of the host", arguments));
    probes.push(Probe::new(12, "ptrace process 1", "EPERM", |_| {
        judge(
            sys::call(libc::SYS_ptrace, &mut [Number(PTRACE_SEIZE), Number(1), Number(0), Number(0)]),
            &SHUT,
        )
    }));
    probes.push(Probe::new(12, "read the memory of process 1", "EPERM", |_| {
        memory(libc::SYS_process_vm_readv)
    }));
    probes.push(Probe::new(12, "write the memory of process 1", "EPERM", |_| {
        memory(libc::SYS_process_vm_writev)
    }));
    probes.push(Probe::new(12, "ptrace a process of the host", "ESRCH", |context| {
        let process = Number(context.process.into());
        host(context, || {
            sys::call(libc::SYS_ptrace, &mut [Number(PTRACE_SEIZE), process, Number(0), Number(0)])
        })
    }));
    probes.push(Probe::new(13, "signal a process of the host", "ESRCH", |context| {
        // Signal 0 only asks whether it could be sent.
        host(context, || sys::call(libc::SYS_kill, &mut [Number(context.process.into()), Number(0)]))
    }));
    probes.push(Probe::new(13, "processes that can be seen", "only the sandbox's own", processes));
    probes.push(Probe::new(13, "kill process 1", "no effect", |_| kill_first()));
    probes
}

fn read(file: &str) -> Outcome {
    let path = format!("/proc/1/{file}");
    let result = match file {
        "root" | "cwd" | "exe" | "ns/mnt" => std::fs::read_link(&path).map(drop),
        "fd" => return descriptors(&path),
        _ => std::fs::File::open(&path).and_then(|mut file| file.read(&mut [0; 1])).map(drop),
    };
    judge(result.map_err(Into::into), &SHUT)
}

/// Where the hand was started inside its user namespace, the kernel lets its root count the descriptors. What they are,
/// and following them, is another matter.
fn descriptors(path: &str) -> Outcome {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return judge::<()>(Err(error.into()), &SHUT),
    };
    all(entries.flatten().flat_map(|entry| {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let told = judge(std::fs::read_link(&path).map_err(Into::into), &SHUT);
        let followed = judge(sys::open(&path.to_string_lossy(), libc::O_RDONLY), &SHUT);
        [(name.clone(), told), (name, followed)]
    }))
}

fn arguments(context: &Context) -> Outcome {
    let told = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    let told = String::from_utf8_lossy(&told).replace('\0', " ");
    let is_path = told.contains('/') || context.is_betrayed_by(told.as_bytes());
    if is_path { Outcome::Escaped(format!("they are {told}")) } else { Outcome::Held(told.trim().to_owned()) }
}

fn memory(number: libc::c_long) -> Outcome {
    let mut byte = [0; 8];
    let at = byte.as_mut_ptr().expose_provenance() as u64;
    // Both sides name an address of ours; process 1 has its own there, or nothing.
    let mut vector = [0; 16];
    vector[..8].copy_from_slice(&at.to_ne_bytes());
    vector[8..].copy_from_slice(&1_u64.to_ne_bytes());
    let mut other = vector;
    let arguments = &mut [Number(1), Bytes(&mut vector), Number(1), Bytes(&mut other), Number(1), Number(0)];
    judge(sys::call(number, arguments), &SHUT)
}

/// Held when the number means nothing in here. A process of the sandbox may have it by chance.
fn host(context: &Context, attack: impl FnOnce() -> Result<i64, sys::Errno>) -> Outcome {
    if context.process == 0 {
        return Outcome::Skipped("no process of the host was named".to_owned());
    }
    if std::fs::metadata(format!("/proc/{}", context.process)).is_ok() {
        return Outcome::Skipped(format!("{} is a process of the sandbox, too", context.process));
    }
    judge(attack(), &[libc::ESRCH])
}

/// The programs of the server and the spawner are among the host's processes.
fn processes(_: &Context) -> Outcome {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Outcome::Held("none".to_owned()) };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut count = 0;
    for id in ids {
        count += 1;
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let is_threaded_by_kernel = line.is_empty()
            && std::fs::read_to_string(format!("/proc/{id}/status"))
                .is_ok_and(|status| status.contains("Kthread:\t1"));
        if is_threaded_by_kernel || String::from_utf8_lossy(&line).contains("spawner") {
            return Outcome::Escaped(format!("{id} is one of the host's"));
        }
    }
    Outcome::Held(format!("{count} processes"))
}

fn kill_first() -> Outcome {
    for signal in [libc::SIGTERM, libc::SIGSTOP, libc::SIGSEGV, libc::SIGKILL] {
        sys::call(libc::SYS_kill, &mut [Number(1), Number(signal.into())]).ok();
    }
    let state = std::fs::read_to_string("/proc/1/stat").unwrap_or_default();
    let state = state.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
    // Its end would have ended this process, too.
    let is_alive = std::fs::metadata("/proc/1/stat").is_ok();
    if is_alive && !"TtZX?".contains(state) {
        Outcome::Held("it lives".to_owned())
    } else {
        Outcome::Escaped(format!("its state is {state}"))
    }
}
