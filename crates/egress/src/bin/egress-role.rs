//! The egress process on its own: `egress-role [--id USER] [--peer USER]`. The program carries the same code; this is for
//! tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    egress::main(std::env::args_os().skip(1))
}
