//! What the outside runs in the course of an attack of its own, and what the copies of this program answer.

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use crate::privilege;
use crate::sys;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;

/// How long a path changes its meaning.
const SWAPPING: Duration = Duration::from_secs(20);

/// The stunt of this name, if it is one.
pub(crate) fn run(name: &str) -> Option<ExitCode> {
    match name {
        "who-am-i" => println!("{}", privilege::user()),
        "what-may-i" => println!("{}", privilege::effective()),
        "swap" => swap(),
        "starve" => starve(),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

/// Leaves process 1 no descriptor to open. It belongs to the same user inside, so the kernel permits it; the sandbox is
/// lost, and the session must get another one.
fn starve() {
    let mut limit = [0; 16];
    for at in [0, 8] {
        limit[at] = 3;
    }
    let kind = Number(libc::RLIMIT_NOFILE.into());
    match sys::call(libc::SYS_prlimit64, &mut [Number(1), kind, Bytes(&mut limit), Number(0)]) {
        Ok(_) => println!("starved"),
        Err(errno) => println!("refused: {errno}"),
    }
}

/// Lets the folder `/workspace/race` and a link beside it change places, over and over: whoever looks first and opens
/// later is led astray.
fn swap() {
    const EXCHANGE: i64 = 2;
    let here = || Number(libc::AT_FDCWD.into());
    let start = Instant::now();
    while start.elapsed() < SWAPPING {
        let (one, other) = (Text(c"/workspace/race"), Text(c"/workspace/race-link"));
        if sys::call(libc::SYS_renameat2, &mut [here(), one, here(), other, Number(EXCHANGE)]).is_err() {
            return;
        }
    }
}
