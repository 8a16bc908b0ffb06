//! The filter on system calls: one program, made from the table in [`calls`](super::calls).
//!
//! What is not in the table does not exist. Numbers of equal treatment form ranges, and the program finds the range of a
//! call by halving, in as many steps as the number of ranges has bits. A call by another architecture's convention kills
//! the process, because its numbers mean something else; the x32 convention sets a bit far above every range.

use std::collections::BTreeMap;
use std::io;

use libc::sock_filter;

use super::calls;
use super::calls::NONE;
use super::error::Error;
use super::error::Step;
use super::sys;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The kernel performs it.
    Allow,
    /// It fails with this error.
    Refuse(libc::c_int),
    /// That depends on its arguments.
    Check(Check),
}

/// What is looked at before a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// `clone`: its flags.
    NewProcess,
    /// `ioctl`: which control.
    Control,
    /// `socket`, `socketpair`: family and protocol.
    Socket,
    /// `personality`: which one.
    Personality,
    /// `prlimit64`: whose limits.
    Limits,
}

/// Whose numbers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Architecture {
    X86_64,
    Aarch64,
}

/// Flags of `clone` for new namespaces.
const NEW_NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Controls of terminals that put input into somebody's keyboard, and the one that loads a line discipline.
const FORBIDDEN_CONTROLS: [u32; 3] = [0x5412, 0x541c, 0x5423];

/// Protocols of the internet families: the usual one, ICMP, TCP, UDP, ICMP of version 6.
const PROTOCOLS: [libc::c_int; 5] =
    [0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6];

/// Personalities: the usual one; 32 bits; an old kernel's version, alone and with 32 bits; fixed addresses, which debuggers
/// ask for; and the question which one it is.
const HARMLESS_PERSONALITIES: [u32; 6] = [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, u32::MAX];

/// The hand, as everybody inside knows it.
const FIRST_PROCESS: u32 = 1;

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_BELOW: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ANSWER_ALLOW: u32 = 0x7fff_0000;
const ANSWER_ERROR: u32 = 0x0005_0000;
const ANSWER_KILL: u32 = 0x8000_0000;
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Installs the filter; it cannot be taken off again.
pub(crate) fn install() -> Result<(), Error> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => Ok(Architecture::X86_64),
        "aarch64" => Ok(Architecture::Aarch64),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    let program = architecture.and_then(program).step("make the seccomp filter")?;
    sys::install_filter(&program).step("install the seccomp filter")
}

impl Architecture {
    /// How the kernel names it to a filter.
    fn token(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    fn number(self, call: &calls::Call) -> Option<u32> {
        let number = match self {
            Self::X86_64 => call.1,
            Self::Aarch64 => call.2,
        };
        (number != NONE).then_some(number)
    }
}

fn program(architecture: Architecture) -> io::Result<Vec<sock_filter>> {
    let ranges = ranges(architecture);
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE_AT),
        step(JUMP_IF_EQUAL, 1, 0, architecture.token()),
        step(RETURN, 0, 0, ANSWER_KILL),
        step(LOAD, 0, 0, NUMBER_AT),
    ];
    program.extend(search(&ranges)?);
    Ok(program)
}

/// Where ranges of equal treatment begin, from 0 up. The last one has no end.
fn ranges(architecture: Architecture) -> Vec<(u32, Verdict)> {
    let mut verdicts = BTreeMap::new();
    for group in calls::groups() {
        let numbers = group.calls.iter().filter_map(|call| architecture.number(call));
        verdicts.extend(numbers.map(|number| (number, group.verdict)));
    }
    let absent = Verdict::Refuse(libc::ENOSYS);
    let mut ranges = vec![(0, absent)];
    let mut begin = |at: u32, verdict: Verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == at => *last = verdict,
        Some(_) | None => ranges.push((at, verdict)),
    };
    let mut next = 0;
    for (number, verdict) in verdicts {
        if number > next {
            begin(next, absent);
        }
        begin(number, verdict);
        next = number + 1;
    }
    begin(next, absent);
    ranges
}

/// Steps that find the range of the loaded number and answer its verdict.
fn search(ranges: &[(u32, Verdict)]) -> io::Result<Vec<sock_filter>> {
    if let [(_, verdict)] = ranges {
        return answer(*verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (below, above) = (search(low)?, search(high)?);
    let mut steps = vec![step(JUMP_IF_NOT_BELOW, distance(below.len())?, 0, high[0].0)];
    steps.extend(below);
    steps.extend(above);
    Ok(steps)
}

fn answer(verdict: Verdict) -> io::Result<Vec<sock_filter>> {
    let allow = || vec![step(RETURN, 0, 0, ANSWER_ALLOW)];
    let refuse = |error: libc::c_int| vec![step(RETURN, 0, 0, ANSWER_ERROR | error.cast_unsigned())];
    let number = |value: libc::c_int| value.cast_unsigned();
    match verdict {
        Verdict::Allow => Ok(allow()),
        Verdict::Refuse(error) => Ok(refuse(error)),
        Verdict::Check(Check::NewProcess) => {
            let flags = step(LOAD, 0, 0, ARGUMENTS_AT);
            let asks = step(JUMP_IF_ANY_BIT, 0, 1, NEW_NAMESPACES.cast_unsigned());
            Ok([vec![flags, asks], refuse(libc::EPERM), allow()].concat())
        }
        Verdict::Check(Check::Control) => one_of(1, &FORBIDDEN_CONTROLS, refuse(libc::EPERM), allow()),
        Verdict::Check(Check::Personality) => {
            one_of(0, &HARMLESS_PERSONALITIES, allow(), refuse(libc::EPERM))
        }
        Verdict::Check(Check::Limits) => one_of(0, &[FIRST_PROCESS], refuse(libc::EPERM), allow()),
        Verdict::Check(Check::Socket) => {
            let protocol = one_of(2, &PROTOCOLS.map(number), allow(), refuse(libc::EPROTONOSUPPORT))?;
            let route = [number(libc::NETLINK_ROUTE)];
            let route = one_of(2, &route, allow(), refuse(libc::EAFNOSUPPORT))?;
            let other = one_of(0, &[number(libc::AF_NETLINK)], route, refuse(libc::EAFNOSUPPORT))?;
            let internet = [libc::AF_INET, libc::AF_INET6].map(number);
            one_of(0, &[number(libc::AF_UNIX)], allow(), one_of(0, &internet, protocol, other)?)
        }
    }
}

/// Steps that go one way if an argument is one of these values, and the other way if it is none. The lower half of the
/// argument counts, which is all that the kernel looks at in these calls.
fn one_of(
    argument: u32,
    values: &[u32],
    then: Vec<sock_filter>,
    otherwise: Vec<sock_filter>,
) -> io::Result<Vec<sock_filter>> {
    let mut steps = vec![step(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument)];
    for (place, value) in values.iter().enumerate() {
        let left = values.len() - place - 1;
        steps.push(step(JUMP_IF_EQUAL, distance(left + otherwise.len())?, 0, *value));
    }
    steps.extend(otherwise);
    steps.extend(then);
    Ok(steps)
}

fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// How far a jump goes.
fn distance(steps: usize) -> io::Result<u8> {
    u8::try_from(steps).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
