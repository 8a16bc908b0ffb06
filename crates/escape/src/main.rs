//! The escape suite: the isolation of sandboxes, tried on this very host by an attacker inside.
//!
//! `journeyman doctor --escape` runs this program, which starts servers of that very `journeyman` with a data folder of
//! their own. A scripted agent carries the attacker (`crates/attacker`) into its sandbox through the bash tool and runs it:
//! in new sandboxes with each kind of network, and without any; in the sandbox that is made over the files of the first,
//! in which links to the host were left; and in one whose files come from a checkpoint that an attacker has prepared.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its terminal"
)]

mod archive;
mod client;
mod friend;
mod ground;
mod layer;
mod life;
mod play;
mod report;
mod restore;
mod script;
mod served;
mod settings;
mod stage;
mod terminal;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::SignalKind;

use crate::friend::Friend;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::Stage;
use crate::terminal::Style;
use crate::terminal::Terminal;

/// What `journeyman doctor --escape` says.
#[derive(Parser)]
#[command(
    name = "journeyman-escape",
    version,
    about = "Tries every known way out of a sandbox; run by `journeyman doctor --escape`"
)]
struct Arguments {
    /// The journeyman that is attacked
    #[arg(long, value_name = "PATH")]
    program: PathBuf,
    /// The folder below which everything is made, and removed at the end
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The configuration in effect, as TOML
    #[arg(long, value_name = "TOML", default_value = "")]
    settings: String,
    /// The mode of this host's sandboxes
    #[arg(long)]
    mode: String,
    /// This host bounds the memory of a sandbox as a whole
    #[arg(long)]
    shared_memory: bool,
    /// One line of JSON for each attempt
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build().context("start the asynchronous runtime")?.block_on(run(arguments))
}

/// Runs it. The exit code is 1 when something escaped.
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let configured = arguments.settings.parse().context("read the configuration in effect")?;
    let terminal = Terminal::new();
    let mut report = Report::new(terminal, arguments.json);
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let ground = Ground::make(&arguments.data)?;
    let mut facts = ground.facts()?;
    facts.extend(settings::bounds(arguments.shared_memory));
    let friend = Friend::listen(&ground.greeting(), ground.port()?).await?;
    let script = script::text(&ground, &facts.join(" "))?;
    let settings = settings::attacked(configured, &script, friend.route());
    report.say(&terminal.paint(Style::Bold, &format!("Escape suite, {}", arguments.mode)));
    let stage = Stage { program: &arguments.program, settings: &settings, ground: &ground };
    let attacked = tokio::select! {
        attacked = stage.attack(&mut report) => attacked,
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped by a signal")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    let removed = ground.remove();
    attacked?;
    let is_tight = report.close(&arguments.mode);
    removed?;
    Ok(if is_tight { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
