//! Journeyman, the binary: command line, configuration, and the parts of the server put together.
//!
//! Everything that talks to a terminal or reads the environment is here; the other crates get values.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its terminal"
)]

mod blobs;
mod choice;
mod cli;
mod client;
mod config;
mod data;
mod doctor;
mod environment;
mod escape;
mod hands;
mod image;
mod keys;
mod node;
mod quickstart;
mod run;
mod serve;
mod surroundings;
mod terminal;
mod transcript;

use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use sandbox::spawner::Choice;
use sandbox::spawner::Options;
use tracing_subscriber::EnvFilter;

use crate::cli::Arguments;
use crate::cli::Command;
use crate::config::Config;
use crate::environment::Environment;

fn main() -> ExitCode {
    let command = match Arguments::parse().command {
        // The spawner forks, so no thread may exist yet.
        Command::Spawner { data, disk } => {
            let disk = Choice::ALL.into_iter().find(|choice| disk == choice.name()).unwrap_or_default();
            return sandbox::spawner::main(&data, &Options { disk, ..Options::default() });
        }
        // This one gives up what it could do before a thread exists.
        Command::Egress { arguments } => return egress::main(arguments),
        command => command,
    };
    data::make_files_private();
    match dispatch(command, &Environment::read()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command, environment: &Environment) -> Result<ExitCode> {
    match command {
        Command::Serve(flags) => {
            let listen = flags.listen.map(|address| address.to_string());
            let config = Config::load(environment, &flags.common, listen.as_deref())?;
            start_log(&config, environment)?;
            block_on(serve::run(&config, environment))
        }
        Command::Quickstart(flags) => {
            let listen = flags.listen.map(|address| address.to_string());
            let config = Config::load(environment, &flags.common, listen.as_deref())?;
            start_quiet_log(&config, environment)?;
            block_on(quickstart::run(config, environment, &flags))
        }
        Command::Run(flags) => {
            let config = Config::load(environment, &flags.common, None)?;
            start_quiet_log(&config, environment)?;
            block_on(run::run(config, environment, &flags))
        }
        Command::Doctor(flags) => {
            let config = Config::load(environment, &flags.common, None)?;
            if flags.escape {
                start_quiet_log(&config, environment)?;
                return block_on(escape::run(&config, environment, flags.json));
            }
            block_on(doctor::run(&config, environment))
        }
        Command::Keys(command) => {
            let config = Config::load(environment, command.common(), None)?;
            block_on(keys::run(&config, &command))
        }
        Command::Image(command) => {
            let config = Config::load(environment, command.common(), None)?;
            block_on(image::run(&config, environment, &command))
        }
        Command::Config(cli::Config::Show(flags)) => {
            let listen = flags.listen.map(|address| address.to_string());
            print!("{}", Config::load(environment, &flags.common, listen.as_deref())?.show());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(cli::Config::Default) => {
            print!("{}", config::DEFAULTS);
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate(common) => {
            let config = Config::load(environment, &common, None)?;
            block_on(async {
                serve::open_store(&config.settings).await?;
                println!("the database has the schema of this version");
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Spawner { .. } | Command::Egress { .. } => {
            unreachable!("main() has handed over to the spawner and to the egress process")
        }
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build().context("start the asynchronous runtime")?.block_on(future)
}

fn start_log(config: &Config, environment: &Environment) -> Result<()> {
    let level = &config.settings.log.level;
    let filter = EnvFilter::try_new(level).with_context(|| format!("read log.level {level:?}"))?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
    for name in environment.unknown() {
        tracing::warn!("the environment variable {name} means nothing to this program");
    }
    Ok(())
}

/// Where a transcript is the output, the log speaks only when it was asked to, or when something is wrong.
fn start_quiet_log(config: &Config, environment: &Environment) -> Result<()> {
    if !config.is_default("log.level") {
        return start_log(config, environment);
    }
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new("error")).with_writer(std::io::stderr).init();
    Ok(())
}
