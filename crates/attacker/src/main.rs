//! The attacker: tries to get out of the sandbox that it runs in, and prints one line of JSON per try.
//!
//! `journeyman doctor --escape` carries this program into a sandbox through the public API and runs it there. Every probe
//! runs in a process of its own, is bounded in time and in what it uses, and is harmless where a wall is missing: a
//! mount goes to `/mnt`, a clock is set to what it shows, files of the kernel are opened and not written.

#![expect(clippy::print_stdout, reason = "its lines are its result")]

mod calls;
mod context;
mod descriptors;
mod disk;
mod files;
mod first;
mod hello;
mod hogs;
mod mounts;
mod namespaces;
mod network;
mod policy;
mod prepared;
mod privilege;
mod probe;
mod proxy;
mod settings;
mod stunts;
mod sys;
mod terminals;
mod ways;

use std::process::ExitCode;

use crate::context::Context;
use crate::probe::Probe;

/// Exit status when the arguments make no sense.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(group) = arguments.next() else { return ExitCode::from(MISUSED) };
    if let Some(status) = stunts::run(&group) {
        return status;
    }
    let Some(context) = Context::parse(arguments) else { return ExitCode::from(MISUSED) };
    let probes: Vec<Probe> = match group.as_str() {
        "kernel" => {
            [settings::probes(), mounts::probes(), namespaces::probes(), calls::probes()].concat_all()
        }
        "walls" => [
            first::probes(),
            files::probes(),
            privilege::probes(),
            descriptors::probes(),
            terminals::probes(),
        ]
        .concat_all(),
        "network" => [network::probes(), proxy::probes(), policy::probes(&context)].concat_all(),
        "hogs" => hogs::probes(),
        "prepared" => prepared::probes(),
        name => match disk::probe(name) {
            Some(probe) => vec![probe],
            None => return ExitCode::from(MISUSED),
        },
    };
    for probe in &probes {
        probe.run(&context);
    }
    println!("{{\"end\":\"{group}\"}}");
    ExitCode::SUCCESS
}

/// Lists of probes put together.
trait ConcatAll {
    fn concat_all(self) -> Vec<Probe>;
}

impl<const N: usize> ConcatAll for [Vec<Probe>; N] {
    fn concat_all(self) -> Vec<Probe> {
        self.into_iter().flatten().collect()
    }
}
