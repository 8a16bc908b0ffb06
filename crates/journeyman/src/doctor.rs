//! `doctor`: what this host can do, what is missing, what that costs, and how to get it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::ids::Ids;
use api::time::Clock;
use model::Models;
use sandbox::Mode;
use store::Blobs;

use crate::blobs;
use crate::config::Config;
use crate::config::without_password;
use crate::data;
use crate::environment::Environment;
use crate::hands::Hands;
use crate::serve;
use crate::terminal::Output;
use crate::terminal::Style;
use crate::terminal::Terminal;

/// Width of the column with names.
const NAME: usize = 26;

/// How long a bucket is given that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prints the findings. The exit code is 1 when no sandbox can be made here, or the store cannot be opened, or checkpoints
/// cannot be kept.
pub(crate) async fn run(config: &Config, environment: &Environment) -> Result<ExitCode> {
    let terminal = Terminal::new(Output::Out, environment.get("NO_COLOR").is_some());
    // What a folder can do depends on the file system that it will be on.
    data_folder(&config.settings.server.data, terminal)?;
    let sandbox = sandbox(config, terminal);
    let store = store(config, terminal).await;
    let blobs = blobs(config, environment, terminal).await;
    models(config, terminal);
    Ok(if sandbox && store && blobs { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Closes the folder as a start does, and says so.
fn data_folder(path: &Path, terminal: Terminal) -> Result<()> {
    let former = data::open_mode(path);
    data::open(path)?;
    terminal.line(&terminal.paint(Style::Bold, "Data"));
    let detail = match former {
        Some(mode) => {
            format!("{} was open to other accounts (mode {mode:04o}) and is closed now", path.display())
        }
        None => format!("{} is closed to other accounts", path.display()),
    };
    row(terminal, former.is_none(), "folder", &detail);
    terminal.line("");
    Ok(())
}

fn sandbox(config: &Config, terminal: Terminal) -> bool {
    let report = match Hands::open(&config.settings) {
        Ok(hands) => hands.backend().report(),
        Err(error) => {
            terminal.line(&terminal.paint(Style::Bold, "Sandbox"));
            row(terminal, false, "configuration", &format!("{error:#}"));
            return false;
        }
    };
    terminal.line(&terminal.paint(Style::Bold, "Sandbox"));
    for primitive in &report.primitives {
        row(terminal, primitive.present, primitive.name, &primitive.detail);
        if !primitive.present {
            hint(terminal, "costs", primitive.cost);
            hint(terminal, "remedy", &primitive.remedy);
        }
    }
    let told =
        report.mode.map_or("none: no sandbox can be made on this host, so no tool can run", Mode::name);
    row(terminal, report.mode.is_some(), "mode", told);
    report.mode.is_some()
}

async fn store(config: &Config, terminal: Terminal) -> bool {
    terminal.line("");
    terminal.line(&terminal.paint(Style::Bold, "Store"));
    let name = match &config.settings.database.url {
        Some(url) => format!("PostgreSQL at {}", without_password(url)),
        None => format!("SQLite in {}", config.settings.server.data.display()),
    };
    match serve::open_store(&config.settings).await {
        Ok(_) => {
            row(terminal, true, "opened", &name);
            true
        }
        Err(error) => {
            row(terminal, false, "opened", &format!("{name}: {error:#}"));
            false
        }
    }
}

/// Writes, reads, lists and deletes a checkpoint that is none.
async fn blobs(config: &Config, environment: &Environment, terminal: Terminal) -> bool {
    terminal.line("");
    terminal.line(&terminal.paint(Style::Bold, "Checkpoints"));
    let target = blobs::target(&config.settings, environment, PATIENCE);
    let key = format!("checks/{:016x}", Ids::new(Clock::system()).below(u64::MAX));
    let checked = async {
        let blobs = Blobs::open(&target).await?;
        blobs.check(&key).await.map(|()| blobs.place().to_owned())
    };
    match checked.await {
        Ok(place) => {
            row(terminal, true, "kept", &format!("in {place}"));
            true
        }
        Err(error) => {
            row(terminal, false, "kept", &format!("{:#}", anyhow::Error::from(error)));
            hint(terminal, "costs", "idle sandboxes stay on this node and are lost with it");
            false
        }
    }
}

fn models(config: &Config, terminal: Terminal) {
    terminal.line("");
    terminal.line(&terminal.paint(Style::Bold, "Models"));
    let models = &config.settings.models;
    if models.providers.is_empty() {
        row(terminal, false, "provider", "none is configured");
        hint(terminal, "costs", "sessions cannot run; the quickstart plays a script");
        hint(terminal, "remedy", "set JOURNEYMAN_ANTHROPIC_API_KEY or JOURNEYMAN_OPENAI_BASE_URL");
        return;
    }
    match Models::new(models.clone()) {
        Ok(_) => {
            for route in &models.routes {
                row(terminal, true, &route.pattern, &format!("served by {}", route.provider));
            }
        }
        Err(error) => row(terminal, false, "configuration", &format!("{:#}", anyhow::Error::from(error))),
    }
}

fn row(terminal: Terminal, is_present: bool, name: &str, detail: &str) {
    let (style, mark) = if is_present { (Style::Green, "ok") } else { (Style::Red, "missing") };
    terminal.line(&format!("  {} {name:<NAME$} {detail}", terminal.paint(style, &format!("{mark:<8}"))));
}

fn hint(terminal: Terminal, name: &str, text: &str) {
    terminal.line(&format!("{:11}{}", "", terminal.paint(Style::Faint, &format!("{name}: {text}"))));
}
