//! Calls that nothing in a sandbox has a use for.

use std::time::Duration;

use crate::probe::Call;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::refused;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;
use crate::sys::Errno;
use crate::sys::call;

const HERE: i64 = libc::AT_FDCWD as i64;
const SHUT: [i32; 2] = [libc::EPERM, libc::ENOSYS];
/// No file of this name exists anywhere.
const NOWHERE: &std::ffi::CStr = c"/nowhere/escape";

/// With arguments that do no harm: names that do not exist, the time that it is, a magic number that is none.
const CALLS: &[Call] = &[
    (20, "open_by_handle_at", open_by_handle),
    (20, "name_to_handle_at", || {
        let (mut handle, mut mount) = ([0; 136], [0; 8]);
        handle[0] = 128;
        let flags = Number(0);
        call(
            libc::SYS_name_to_handle_at,
            &mut [Number(HERE), Text(c"/"), Bytes(&mut handle), Bytes(&mut mount), flags],
        )
    }),
    (21, "keyctl", || call(libc::SYS_keyctl, &mut [Number(0), Number(-3), Number(0)])),
    (21, "add_key", || {
        let mut payload = *b"x";
        let user_keyring = Number(-2);
        call(
            libc::SYS_add_key,
            &mut [Text(c"user"), Text(c"escape"), Bytes(&mut payload), Number(1), user_keyring],
        )
    }),
    (21, "request_key", || {
        call(libc::SYS_request_key, &mut [Text(c"user"), Text(c"escape"), Number(0), Number(0)])
    }),
    (22, "io_uring_setup", || {
        let mut parameters = [0; 120];
        call(libc::SYS_io_uring_setup, &mut [Number(1), Bytes(&mut parameters)])
    }),
    (22, "io_uring_enter", || {
        call(libc::SYS_io_uring_enter, &mut [Number(0), Number(0), Number(0), Number(0)])
    }),
    (22, "io_uring_register", || call(libc::SYS_io_uring_register, &mut [Number(0), Number(0), Number(0)])),
    (23, "bpf", || {
        // A map of one element.
        let mut attributes = [0; 128];
        for (at, value) in [(0, 2_u32), (4, 4), (8, 4), (12, 1)] {
            attributes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        call(libc::SYS_bpf, &mut [Number(0), Bytes(&mut attributes), Number(128)])
    }),
    (23, "perf_event_open", || {
        // The task clock of this process, in user mode.
        let mut attributes = [0; 128];
        for (at, value) in [(0, 1_u32), (4, 128), (8, 1), (40, 0x60)] {
            attributes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let anywhere = Number(-1);
        call(
            libc::SYS_perf_event_open,
            &mut [Bytes(&mut attributes), Number(0), anywhere, Number(-1), Number(0)],
        )
    }),
    (23, "userfaultfd", || call(libc::SYS_userfaultfd, &mut [Number(0)])),
    (23, "kexec_load, with flags that do not exist", || {
        call(libc::SYS_kexec_load, &mut [Number(0), Number(0), Number(0), Number(0xff)])
    }),
    (23, "kexec_file_load", || {
        call(libc::SYS_kexec_file_load, &mut [Number(-1), Number(-1), Number(0), Number(0), Number(0)])
    }),
    (23, "init_module", || {
        let mut image = [0; 16];
        call(libc::SYS_init_module, &mut [Bytes(&mut image), Number(16), Text(c"")])
    }),
    (23, "finit_module", || call(libc::SYS_finit_module, &mut [Number(-1), Text(c""), Number(0)])),
    (23, "delete_module", || call(libc::SYS_delete_module, &mut [Text(c"escape"), Number(0)])),
    (23, "reboot, with a wrong magic number", || {
        call(libc::SYS_reboot, &mut [Number(1), Number(2), Number(0), Number(0)])
    }),
    (23, "swapon", || call(libc::SYS_swapon, &mut [Text(NOWHERE), Number(0)])),
    (23, "swapoff", || call(libc::SYS_swapoff, &mut [Text(NOWHERE)])),
    (23, "acct", || call(libc::SYS_acct, &mut [Text(NOWHERE)])),
    (23, "quotactl", || {
        const Q_GETFMT: i64 = 0x80_0004 << 8;
        let mut format = [0; 8];
        call(libc::SYS_quotactl, &mut [Number(Q_GETFMT), Text(NOWHERE), Number(0), Bytes(&mut format)])
    }),
    (23, "settimeofday, to the time that it is", || set_clock(libc::SYS_settimeofday)),
    (23, "clock_settime, to the time that it is", || set_clock(libc::SYS_clock_settime)),
    (23, "sethostname, to the name that it has", || {
        call(libc::SYS_sethostname, &mut [Text(c"sandbox"), Number(7)])
    }),
    (23, "syslog", || {
        let mut log = [0; 64];
        call(libc::SYS_syslog, &mut [Number(3), Bytes(&mut log), Number(64)])
    }),
    (23, "fanotify_init", || call(libc::SYS_fanotify_init, &mut [Number(0), Number(0)])),
    (23, "memfd_secret", || call(libc::SYS_memfd_secret, &mut [Number(0)])),
    (23, "kcmp with process 1", || {
        call(libc::SYS_kcmp, &mut [Number(1), Number(1), Number(0), Number(0), Number(0)])
    }),
    (24, "a call younger than the table", || call(600, &mut [])),
];

#[cfg(target_arch = "x86_64")]
const CALLS_HERE: &[Call] = &[
    (23, "iopl", || call(libc::SYS_iopl, &mut [Number(3)])),
    (23, "ioperm", || call(libc::SYS_ioperm, &mut [Number(0x80), Number(1), Number(1)])),
    (24, "x32 numbers", || call(0x4000_0000 + libc::SYS_getpid, &mut [])),
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS_HERE: &[Call] = &[];

/// Rows 20 to 24.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes: Vec<Probe> = refused(CALLS, "EPERM or ENOSYS", &SHUT).collect();
    probes.extend(refused(CALLS_HERE, "EPERM or ENOSYS", &SHUT));
    probes.push(Probe::new(24, "calls by the 32-bit convention", "killed", |_| old_convention()));
    probes
}

/// The root of the file system below the overlay, by the handle that it has on ext4.
fn open_by_handle() -> Result<i64, Errno> {
    let root = call(libc::SYS_openat, &mut [Number(HERE), Text(c"/"), Number(0), Number(0)])?;
    let mut handle = [0; 16];
    for (at, value) in [(0, 8_u32), (4, 1), (8, 2)] {
        handle[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    call(libc::SYS_open_by_handle_at, &mut [Number(root), Bytes(&mut handle), Number(0)])
}

fn set_clock(number: libc::c_long) -> Result<i64, Errno> {
    let mut now = [0; 16];
    if number == libc::SYS_settimeofday {
        call(libc::SYS_gettimeofday, &mut [Bytes(&mut now), Number(0)])?;
        return call(number, &mut [Bytes(&mut now), Number(0)]);
    }
    call(libc::SYS_clock_gettime, &mut [Number(0), Bytes(&mut now)])?;
    call(number, &mut [Number(0), Bytes(&mut now)])
}

#[cfg(target_arch = "x86_64")]
fn old_convention() -> Outcome {
    match sys::in_child(Duration::from_secs(2), || sys::old_convention().to_string().into_bytes()) {
        sys::End::Signal(signal) => Outcome::Held(format!("killed by signal {signal}")),
        sys::End::Answer(answer) => {
            Outcome::Escaped(format!("it was answered with {}", String::from_utf8_lossy(&answer)))
        }
        sys::End::Nothing | sys::End::Late => {
            Outcome::Escaped("unclear: it neither answered nor died".to_owned())
        }
        sys::End::Failed(errno) => Outcome::Skipped(format!("no process could be started: {errno}")),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn old_convention() -> Outcome {
    Outcome::Skipped("this architecture has none".to_owned())
}
