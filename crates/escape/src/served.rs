//! A server of the program that is attacked, as a process of its own.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use rustix::process::Pid;
use rustix::process::Signal;
use toml::Table;

use crate::client::Client;
use crate::ground::Ground;

/// A running server. Its end is the end of its sandboxes; sessions and their files stay in the data folder.
pub(crate) struct Served {
    /// A client of it.
    pub(crate) client: Client,
    child: Ending,
}

/// Ends the process when this is dropped.
struct Ending(Child);

impl Served {
    /// Starts a server on the data folder of this run.
    pub(crate) fn start(program: &Path, settings: &Table, ground: &Ground) -> Result<Self> {
        tokio::task::block_in_place(|| start(program, settings, ground))
    }

    /// Stops the server and waits until its sandboxes have ended.
    pub(crate) fn end(self) {
        tokio::task::block_in_place(|| drop(self.child));
    }
}

fn start(program: &Path, settings: &Table, ground: &Ground) -> Result<Served> {
    let path = ground.folder.join("journeyman.toml");
    std::fs::write(&path, settings.to_string()).with_context(|| format!("write {}", path.display()))?;
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--end-sandboxes", "--config"]).arg(path);
    command.arg("--data").arg(ground.data()).stdin(Stdio::null()).stdout(Stdio::piped());
    // What the operator's environment configures is in the settings already; models are not asked.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("JOURNEYMAN_") || text.starts_with("ANTHROPIC_") {
            command.env_remove(&name);
        }
    }
    command.env("JOURNEYMAN_API_KEY", &ground.token);
    let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let mut child = Ending(child);
    let mut line = String::new();
    let output = child.0.stdout.as_mut().context("the server's output was asked for")?;
    BufReader::new(output).read_line(&mut line).context("read where the server listens")?;
    let url = line.trim_end().strip_prefix("listening on ");
    let url = url.with_context(|| format!("start {}: the server ended", program.display()))?;
    Ok(Served { client: Client::new(url, &ground.token)?, child })
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody has waited for the process, so the id is still its own.
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if id.is_some_and(|id| rustix::process::kill_process(id, Signal::TERM).is_ok()) {
            drop(self.0.wait());
        }
    }
}
