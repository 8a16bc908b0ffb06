//! `doctor --escape`: the walls of a sandbox, tried on this very host by an attacker inside.
//!
//! A server of this process, with data of its own, plays a scripted agent; the agent carries the attacker into its
//! sandbox through the bash tool, piece by piece, and runs it: in new sandboxes with each kind of network, and without
//! any; in the sandbox that is made over the files of the first, in which links to the host were left; and in one whose
//! files come from a checkpoint that an attacker has prepared.

mod archive;
mod friend;
mod ground;
mod layer;
mod life;
mod play;
mod report;
mod restore;
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
use crate::config::settings::BackendKind;
use crate::data;
use crate::environment::Environment;
use crate::hands::Hands;
use crate::keys;
use crate::serve;
use crate::serve::Running;
use crate::terminal::Output;
use crate::terminal::Style;
use crate::terminal::Terminal;
use friend::Friend;
use ground::Ground;
use life::Life;
use play::Played;
use report::Finding;
use report::Report;
use report::Verdict;
use restore::Checkpoints;
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
    let data = data::open(&config.settings.server.data)?;
    let host = Hands::open(&config.settings)?.backend().report();
    let mode = match host.mode {
        Some(mode) => mode.name(),
        None => anyhow::bail!("no sandbox can be made on this host: run `journeyman doctor`"),
    };
    let ground = Ground::make(data)?;
    let mut facts = ground.facts()?;
    facts.extend(bounds(&host));
    let friend = Friend::listen(&ground.greeting(), ground.port()?).await?;
    let mut settings = settings(&config.settings, &ground, &script::text(&ground, &facts.join(" "))?);
    settings.network.routes = vec![friend.route()?];
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

/// The bounds, and which of them this host does not enforce whole; `doctor` tells what that costs.
fn bounds(host: &sandbox::Report) -> [String; 5] {
    let shares_memory =
        host.primitives.iter().any(|found| found.present && found.name == "control group: memory");
    [
        format!("processes={PROCESSES_MAX}"),
        format!("memory={MEMORY_BYTES_MAX}"),
        format!("shared-memory={shares_memory}"),
        format!("disk={DISK_BYTES_MAX}"),
        format!("files={DISK_FILES_MAX}"),
    ]
}

/// The operator's settings with data of its own, small bounds, the usual network, and no model but the script.
fn settings(configured: &Settings, ground: &Ground, script: &str) -> Settings {
    let mut settings = configured.clone();
    settings.server.data = ground.folder.join("data");
    settings.database.url = None;
    settings.blobs.url = None;
    settings.network.enabled = true;
    settings.network.permitted_networks = Vec::new();
    settings.network.requests = Vec::new();
    settings.network.blocked_hosts = Vec::new();
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

/// Every life, one server after the other on the same data.
async fn attack(
    settings: &Settings,
    environment: &Environment,
    ground: &Ground,
    report: &mut Report,
) -> Result<()> {
    let stage = Stage { settings, environment, ground };
    let (session, trap) = stage.new_lives(report).await?;
    let planted = ground.plant(&session);
    stage.life_again(&session, tools::trap(&trap, &planted), report).await?;
    stage.life_restored(&session, report).await?;
    stage.life_alone(report).await
}

/// What every life is lived on.
struct Stage<'a> {
    settings: &'a Settings,
    environment: &'a Environment,
    ground: &'a Ground,
}

impl Stage<'_> {
    /// New sandboxes: one in which everything is tried, and one for each narrower network. Gives the session of the first,
    /// whose files stay, and what its last call said of the trap.
    async fn new_lives(&self, report: &mut Report) -> Result<(String, Vec<Played>)> {
        let (running, client) = start(self.settings, self.environment).await?;
        let lived = async {
            let (session, mut findings) = self.born(&client, Life::New).await?;
            findings
                .extend(tools::file_tools(self.ground, &play::turn(&client, &session, Turn::Tools).await?));
            findings.extend(tools::filling(&play::turn(&client, &session, Turn::Fill).await?));
            findings.extend(tools::killing(&play::turn(&client, &session, Turn::Kill).await?));
            let trap = play::turn(&client, &session, Turn::Trap).await?;
            findings.extend(self.ground.inspect());
            report.pass(Life::New.name(), findings);
            for life in [Life::Few, Life::Nobody] {
                self.live_and_die(&client, life, report).await?;
            }
            Ok((session, trap))
        };
        let lived = lived.await;
        // Ends the sandbox, too; the session and its files stay.
        running.end().await?;
        lived
    }

    /// Everything again, in a sandbox that is made over the files of the first.
    async fn life_again(&self, session: &str, trap: Finding, report: &mut Report) -> Result<()> {
        let (running, client) = start(self.settings, self.environment).await?;
        let lived = async {
            let mut findings = loose(&client, session, Life::Again).await?;
            findings
                .extend(tools::file_tools(self.ground, &play::turn(&client, session, Turn::Tools).await?));
            findings.extend(self.ground.inspect());
            findings.push(trap);
            report.pass(Life::Again.name(), findings);
            Ok(())
        };
        let lived = lived.await;
        running.end().await?;
        lived
    }

    /// In a sandbox whose files come from a checkpoint that an attacker has prepared.
    async fn life_restored(&self, session: &str, report: &mut Report) -> Result<()> {
        let (running, client) = start(self.settings, self.environment).await?;
        let lived = async {
            let mut findings = Vec::new();
            if matches!(self.settings.sandbox.backend, BackendKind::Embedded) {
                let mut checkpoints = Checkpoints::of(self.settings, &running.store, session).await?;
                findings.extend(restore::refusals(&client, self.ground, &mut checkpoints).await?);
                checkpoints.replace(layer::restored(self.ground)).await?;
                findings.extend(loose(&client, session, Life::Restored).await?);
                let played = play::turn(&client, session, Turn::Tools).await?;
                findings.extend(tools::file_tools(self.ground, &played));
                findings.extend(self.ground.inspect());
            } else {
                let verdict = (Verdict::Skipped, "containers have no checkpoints".to_owned());
                findings.push(Finding::new(
                    17,
                    "restore a checkpoint",
                    "nothing of it comes to power",
                    verdict,
                ));
            }
            report.pass(Life::Restored.name(), findings);
            client.delete_session(session).await
        };
        let lived = lived.await;
        running.end().await?;
        lived
    }

    /// On a server that gives no sandbox a network.
    async fn life_alone(&self, report: &mut Report) -> Result<()> {
        let mut settings = self.settings.clone();
        settings.network.enabled = false;
        let (running, client) = start(&settings, self.environment).await?;
        let lived = self.live_and_die(&client, Life::Absent, report).await;
        running.end().await?;
        lived
    }

    /// A new sandbox, from its beginning to its end.
    async fn live_and_die(&self, client: &Client, life: Life, report: &mut Report) -> Result<()> {
        let (session, mut findings) = self.born(client, life).await?;
        findings.extend(self.ground.inspect());
        report.pass(life.name(), findings);
        client.delete_session(&session).await
    }

    /// A new session into which the attacker is carried and let loose.
    async fn born(&self, client: &Client, life: Life) -> Result<(String, Vec<Finding>)> {
        let networking = life.networking();
        let task = Task { name: "escape", model: MODEL, system: None, tools: &[], networking };
        let session = client.prepare(&task).await?.session;
        let carried = play::turn(client, &session, Turn::Transfer).await?;
        if let Some(failed) = carried.iter().find(|call| call.is_error) {
            anyhow::bail!("carry the attacker into the sandbox: {}", failed.text);
        }
        let findings = loose(client, &session, life).await?;
        Ok((session, findings))
    }
}

/// A server on a free port, and a client of it.
async fn start(settings: &Settings, environment: &Environment) -> Result<(Running, Client)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen on a free port")?;
    let running = serve::start(settings, environment, listener).await?;
    let key = keys::usable(&running, environment, "escape").await?;
    let client = Client::new(&running.url, &key, true)?;
    Ok((running, client))
}

/// Lets the attacker loose.
async fn loose(client: &Client, session: &str, life: Life) -> Result<Vec<Finding>> {
    let played = play::turn(client, session, Turn::Attack(life)).await?;
    let groups = life.groups();
    let mut findings: Vec<Finding> =
        groups.iter().zip(&played).flat_map(|(group, call)| Finding::read(group, &call.text)).collect();
    if played.len() < groups.len() {
        let verdict = (Verdict::Escaped, "unclear: not all of them were run".to_owned());
        findings.push(Finding::new(0, "the groups of attacks", "all are run", verdict));
    }
    Ok(findings)
}
