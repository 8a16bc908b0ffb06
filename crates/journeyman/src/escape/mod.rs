//! `doctor --escape`: the walls of a sandbox, tried on this very host by an attacker inside.
//!
//! A server of this process, with data of its own, plays a scripted agent; the agent carries the attacker into its
//! sandbox through the bash tool, piece by piece, and runs it. Then the server is stopped and its sandboxes with it, links
//! to the host are left in the session's files, and everything is done again in the sandbox that is made over them.

mod ground;
mod play;
mod report;
mod script;
mod tools;

use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use model::ProviderConfig;
use model::Route;
use model::ScriptedConfig;
use tokio::net::TcpListener;

use crate::client::Client;
use crate::client::Task;
use crate::config::Config;
use crate::config::Settings;
use crate::environment::Environment;
use crate::hands::Hands;
use crate::keys;
use crate::serve;
use crate::serve::Running;
use crate::terminal::Output;
use crate::terminal::Style;
use crate::terminal::Terminal;
use ground::Ground;
use play::Played;
use report::Finding;
use report::Report;
use report::Verdict;
use script::GROUPS;
use script::Turn;

/// Small bounds, so that taking twice as much does this host no harm.
const MEMORY_BYTES_MAX: u64 = 384 << 20;
const PROCESSES_MAX: u32 = 256;
const DISK_BYTES_MAX: u64 = 192 << 20;
const DISK_FILES_MAX: u64 = 4_000;
/// The name under which the script is asked.
const MODEL: &str = "escape";

/// Runs it. The exit code is 1 when something escaped.
pub(crate) async fn run(config: &Config, environment: &Environment, is_json: bool) -> Result<ExitCode> {
    let terminal = Terminal::new(Output::Out, environment.get("NO_COLOR").is_some());
    let mut report = Report::new(terminal, is_json);
    let data = serve::make_folder(&config.settings.server.data)?;
    let host = Hands::open(&config.settings)?.backend().report();
    let mode = match host.mode {
        Some(mode) => mode.name(),
        None => anyhow::bail!("no sandbox can be made on this host: run `journeyman doctor`"),
    };
    let ground = Ground::make(data)?;
    let mut facts = ground.facts()?;
    facts.extend(bounds(&host));
    let settings = settings(&config.settings, &ground, &script::text(&ground, &facts.join(" "))?);
    report.say(&terminal.paint(Style::Bold, &format!("Escape suite, {mode}")));
    let stop = serve::stop_signal()?;
    let outcome = tokio::select! {
        outcome = attack(&settings, environment, &ground, &mut report) => outcome,
        () = stop => Err(anyhow::anyhow!("stopped by a signal")),
    };
    let removed = ground.remove();
    outcome?;
    let is_tight = report.close(mode);
    removed?;
    Ok(if is_tight { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The bounds that this host enforces; what it does not is skipped, and `doctor` tells what that costs.
fn bounds(host: &sandbox::Report) -> Vec<String> {
    let has = |word: &str| host.primitives.iter().any(|found| found.present && found.name.contains(word));
    let mut facts = vec![format!("processes={PROCESSES_MAX}")];
    if has("memory") {
        facts.push(format!("memory={MEMORY_BYTES_MAX}"));
    }
    if has("disk") {
        facts.push(format!("disk={DISK_BYTES_MAX}"));
        facts.push(format!("files={DISK_FILES_MAX}"));
    }
    facts
}

/// The operator's settings with data of its own, small bounds, and no model but the script.
fn settings(configured: &Settings, ground: &Ground, script: &str) -> Settings {
    let mut settings = configured.clone();
    settings.server.data = ground.folder.join("data");
    settings.database.url = None;
    settings.sandbox.memory_bytes_max = MEMORY_BYTES_MAX;
    settings.sandbox.processes_max = PROCESSES_MAX;
    settings.sandbox.disk_bytes_max = DISK_BYTES_MAX;
    settings.sandbox.disk_files_max = DISK_FILES_MAX;
    let provider = ScriptedConfig { script: None, inline: Some(script.to_owned()) };
    settings.models.providers =
        [(MODEL.to_owned(), ProviderConfig::Scripted(provider))].into_iter().collect();
    settings.models.routes =
        vec![Route { pattern: "*".to_owned(), provider: MODEL.to_owned(), upstream_model: None }];
    settings
}

async fn attack(
    settings: &Settings,
    environment: &Environment,
    ground: &Ground,
    report: &mut Report,
) -> Result<()> {
    let (running, client) = start(settings, environment).await?;
    let first = first_life(&client, ground).await;
    // Ends the sandbox, too; the session and its files stay.
    running.end().await?;
    let (session, findings, trap) = first?;
    report.pass("in a new sandbox", findings);
    let planted = ground.plant(&session);
    let (running, client) = start(settings, environment).await?;
    let second = second_life(&client, ground, &session).await;
    let removed = client.delete_session(&session).await;
    running.end().await?;
    let mut findings = second?;
    findings.push(tools::trap(&trap, &planted));
    report.pass("after a hostile former life", findings);
    removed
}

/// A server on a free port, and a client of it.
async fn start(settings: &Settings, environment: &Environment) -> Result<(Running, Client)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen on a free port")?;
    let running = serve::start(settings, environment, listener).await?;
    let key = keys::usable(&running, environment, "escape").await?;
    let client = Client::new(&running.url, &key, true)?;
    Ok((running, client))
}

/// Everything in a sandbox that has just been made. Gives the session and what its last call said of the trap.
async fn first_life(client: &Client, ground: &Ground) -> Result<(String, Vec<Finding>, Vec<Played>)> {
    let made = client.prepare(&Task { name: "escape", model: MODEL, system: None, tools: &[] }).await?;
    let session = made.session;
    let carried = play::turn(client, &session, Turn::Transfer).await?;
    if let Some(failed) = carried.iter().find(|call| call.is_error) {
        anyhow::bail!("carry the attacker into the sandbox: {}", failed.text);
    }
    let mut findings = loose(client, &session).await?;
    findings.extend(tools::file_tools(ground, &play::turn(client, &session, Turn::Tools).await?));
    findings.extend(tools::killing(&play::turn(client, &session, Turn::Kill).await?));
    let trap = play::turn(client, &session, Turn::Trap).await?;
    findings.extend(ground.inspect());
    Ok((session, findings, trap))
}

/// Everything again, in a sandbox that was made over the files of the first.
async fn second_life(client: &Client, ground: &Ground, session: &str) -> Result<Vec<Finding>> {
    let mut findings = loose(client, session).await?;
    findings.extend(tools::file_tools(ground, &play::turn(client, session, Turn::Tools).await?));
    findings.extend(ground.inspect());
    Ok(findings)
}

/// Lets the attacker loose.
async fn loose(client: &Client, session: &str) -> Result<Vec<Finding>> {
    let played = play::turn(client, session, Turn::Attack).await?;
    let mut findings: Vec<Finding> =
        GROUPS.iter().zip(&played).flat_map(|(group, call)| Finding::read(group, &call.text)).collect();
    if played.len() < GROUPS.len() {
        let verdict = (Verdict::Escaped, "unclear: not all of them were run".to_owned());
        findings.push(Finding::new(0, "the groups of attacks", "all are run", verdict));
    }
    Ok(findings)
}
