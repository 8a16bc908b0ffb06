//! The lives of sandboxes in which the attacker is let loose, one server after the other on the same data.

use std::path::Path;

use anyhow::Result;
use toml::Table;

use crate::client::Client;
use crate::ground::Ground;
use crate::layer;
use crate::life::Life;
use crate::play;
use crate::play::Played;
use crate::report::Finding;
use crate::report::Report;
use crate::report::Verdict;
use crate::restore;
use crate::restore::Checkpoints;
use crate::script::Turn;
use crate::served::Served;
use crate::settings;
use crate::settings::MODEL;
use crate::tools;

/// What every life is lived on.
pub(crate) struct Stage<'a> {
    /// The program that is attacked.
    pub(crate) program: &'a Path,
    /// Its configuration.
    pub(crate) settings: &'a Table,
    /// The host's side.
    pub(crate) ground: &'a Ground,
}

impl Stage<'_> {
    /// Every life.
    pub(crate) async fn attack(&self, report: &mut Report) -> Result<()> {
        let (session, trap) = self.new_lives(report).await?;
        let planted = self.ground.plant(&session);
        self.life_again(&session, tools::trap(&trap, &planted), report).await?;
        self.life_restored(&session, report).await?;
        self.life_alone(report).await
    }

    fn serve(&self) -> Result<Served> {
        Served::start(self.program, self.settings, self.ground)
    }

    /// New sandboxes: one in which everything is tried, and one for each narrower network. Gives the session of the first,
    /// whose files stay, and what its last call said of the trap.
    async fn new_lives(&self, report: &mut Report) -> Result<(String, Vec<Played>)> {
        let served = self.serve()?;
        let client = &served.client;
        let (session, mut findings) = self.born(client, Life::New).await?;
        findings.extend(tools::file_tools(self.ground, &play::turn(client, &session, Turn::Tools).await?));
        findings.extend(tools::filling(&play::turn(client, &session, Turn::Fill).await?));
        findings.extend(tools::killing(&play::turn(client, &session, Turn::Kill).await?));
        let trap = play::turn(client, &session, Turn::Trap).await?;
        findings.extend(self.ground.inspect());
        report.pass(Life::New.name(), findings);
        for life in [Life::Few, Life::Nobody] {
            self.live_and_die(client, life, report).await?;
        }
        served.end();
        Ok((session, trap))
    }

    /// Everything again, in a sandbox that is made over the files of the first.
    async fn life_again(&self, session: &str, trap: Finding, report: &mut Report) -> Result<()> {
        let served = self.serve()?;
        let mut findings = loose(&served.client, session, Life::Again).await?;
        findings
            .extend(tools::file_tools(self.ground, &play::turn(&served.client, session, Turn::Tools).await?));
        findings.extend(self.ground.inspect());
        findings.push(trap);
        report.pass(Life::Again.name(), findings);
        served.end();
        Ok(())
    }

    /// In a sandbox whose files come from a checkpoint that an attacker has prepared. A checkpoint is put in place while
    /// no server runs, for only one process at a time opens the data.
    async fn life_restored(&self, session: &str, report: &mut Report) -> Result<()> {
        let mut findings = Vec::new();
        if settings::is_embedded(self.settings) {
            let mut checkpoints = Checkpoints::of(self.ground.data(), session);
            for (name, layer) in layer::refused(self.ground) {
                checkpoints.replace(layer).await?;
                let served = self.serve()?;
                findings.push(restore::refusal(&served.client, session, name).await?);
                served.end();
            }
            checkpoints.replace(layer::restored(self.ground)).await?;
            let served = self.serve()?;
            findings.extend(loose(&served.client, session, Life::Restored).await?);
            let played = play::turn(&served.client, session, Turn::Tools).await?;
            findings.extend(tools::file_tools(self.ground, &played));
            findings.extend(self.ground.inspect());
            served.client.delete_session(session).await?;
            served.end();
        } else {
            let verdict = (Verdict::Skipped, "containers have no checkpoints".to_owned());
            findings.push(Finding::new(17, "restore a checkpoint", "nothing of it comes to power", verdict));
        }
        report.pass(Life::Restored.name(), findings);
        Ok(())
    }

    /// On a server that gives no sandbox a network.
    async fn life_alone(&self, report: &mut Report) -> Result<()> {
        let settings = settings::without_network(self.settings);
        let served = Served::start(self.program, &settings, self.ground)?;
        self.live_and_die(&served.client, Life::Absent, report).await?;
        served.end();
        Ok(())
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
        let session = client.prepare(MODEL, &life.networking()).await?;
        let carried = play::turn(client, &session, Turn::Transfer).await?;
        if let Some(failed) = carried.iter().find(|call| call.is_error) {
            anyhow::bail!("carry the attacker into the sandbox: {}", failed.text);
        }
        let findings = loose(client, &session, life).await?;
        Ok((session, findings))
    }
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
