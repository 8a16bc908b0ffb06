//! Terminals: putting words into somebody else's keyboard.

use std::os::fd::AsRawFd;

use crate::context::Context;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::judge;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;

const TIOCSTI: i64 = 0x5412;
const TIOCLINUX: i64 = 0x541c;
const SHUT: [i32; 4] = [libc::EPERM, libc::ENOTTY, libc::EIO, libc::ENOSYS];

/// Row 35.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for (name, request) in [
        ("TIOCSTI", TIOCSTI),
        ("TIOCSTI with further bits set", TIOCSTI | 1 << 32),
        ("TIOCLINUX", TIOCLINUX),
        ("TIOCLINUX with further bits set", TIOCLINUX | 1 << 32),
    ] {
        let attack = move |_: &Context| push(request);
        probes.push(Probe::new(35, name, "EPERM or ENOTTY", attack));
    }
    probes.push(Probe::new(35, "a controlling terminal", "none", |_| {
        judge(sys::open("/dev/tty", libc::O_RDWR), &[libc::ENXIO, libc::ENOENT])
    }));
    probes
}

/// On a terminal of our own, which controls this process: there the kernel by itself would permit it.
fn push(request: i64) -> Outcome {
    let attempt = || {
        sys::call(libc::SYS_setsid, &mut []).ok();
        let master = sys::open("/dev/ptmx", libc::O_RDWR)?;
        let fd = || Number(master.as_raw_fd().into());
        let mut number = [0; 4];
        let unlock = Number(libc::TIOCSPTLCK.cast_signed());
        sys::call(libc::SYS_ioctl, &mut [fd(), unlock, Bytes(&mut [0; 4])])?;
        sys::call(libc::SYS_ioctl, &mut [fd(), Number(libc::TIOCGPTN.cast_signed()), Bytes(&mut number)])?;
        let slave = sys::open(&format!("/dev/pts/{}", u32::from_ne_bytes(number)), libc::O_RDWR)?;
        let slave_fd = || Number(slave.as_raw_fd().into());
        sys::call(libc::SYS_ioctl, &mut [slave_fd(), Number(libc::TIOCSCTTY.cast_signed()), Number(0)]).ok();
        // Code 2 of TIOCLINUX pastes the selection; `x` is what TIOCSTI would type.
        let mut byte = if request & 0xffff == TIOCLINUX { *b"\x02" } else { *b"x" };
        sys::call(libc::SYS_ioctl, &mut [slave_fd(), Number(request), Bytes(&mut byte)])
    };
    judge(attempt(), &SHUT)
}
