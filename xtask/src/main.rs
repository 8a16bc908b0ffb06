//! The front door for every task of the project: `cargo xtask <task>`. Continuous integration calls nothing else.
//!
//! Only the standard library and three small crates, so that the front door opens quickly: its HTTP client is its own
//! (`http.rs`), and other programs do the work.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod compat;
mod crash;
mod fuzz;
mod http;
mod install;
mod layers;
mod lint;
mod mock;
mod postgres;
mod process;
mod random;
mod served;
mod suites;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// Every task of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formats every crate
    Fmt,
    /// Formatting, clippy, documentation and layering, warnings as errors
    Lint,
    /// Every test: unit, both stores, HTTP, official SDKs, crash runs; installs what they need
    Test {
        /// Kills of each crash run
        #[arg(long, default_value_t = 200)]
        kills: u32,
    },
    /// The suites that drive the built server with the official SDKs
    Sdk,
    /// Kills the server again and again under load, then audits that nothing was lost or done twice
    Crash(crash::Options),
    /// What developers and agents run, inside a sandbox
    Compat(compat::Options),
    /// Bytes that nobody thought of for every parser of outside bytes; needs cargo-fuzz
    Fuzz(fuzz::Options),
    /// Speed and size of the release build, as a table
    Bench(bench::Options),
    /// Who may import whom
    Layers,
    /// What continuous integration runs: `test`
    Ci,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Fmt => lint::format(),
        Task::Lint => lint::run(),
        Task::Test { kills } => suites::test(kills),
        Task::Sdk => suites::sdk(),
        Task::Crash(options) => crash::run(&options),
        Task::Compat(options) => compat::task(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Layers => layers::check(),
        Task::Ci => suites::test(200),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
