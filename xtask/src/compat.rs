//! The compatibility suite: what developers and agents run must work in a sandbox, and what is documented to fail must fail.
//!
//! A server of its own, on a throw-away data folder, plays a scripted model; each check is a turn of one session in which
//! the model runs one script of `tests/compat` through the bash tool. A check asserts results, not only that programs end.
//! One that needs a program that is not there is skipped and says so.

mod checks;
mod ground;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use self::checks::Check;
use self::ground::Ground;
use self::table::Outcome;
use self::table::Table;
use crate::http::Client;
use crate::http::Events;

/// The name under which the script is asked.
const MODEL: &str = "compat";

/// What to run, and in what.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Image that sandboxes start with; the host's own /usr without one
    #[arg(long, requires = "data")]
    image: Option<String>,
    /// Data folder that has the image; a throw-away one without it
    #[arg(long)]
    data: Option<PathBuf>,
    /// Whose sandboxes
    #[arg(long, value_enum, default_value = "own")]
    mode: Mode,
    /// Only checks whose names contain this
    #[arg(long)]
    only: Option<String>,
}

/// Which user runs the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Whoever runs this
    #[default]
    Own,
    /// Root
    Root,
    /// A user without subordinate ids, when root runs this
    Unprivileged,
    /// A user to whom tests/granted.sh grants some, when root runs this
    Subordinate,
}

impl Options {
    /// Everything, over the host's own `/usr`, in one mode.
    pub(crate) fn of(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }
}

impl Mode {
    /// What people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own => "as whoever runs this",
            Self::Root => "as root",
            Self::Unprivileged => "with a single id",
            Self::Subordinate => "with subordinate ids",
        }
    }
}

/// How many checks passed, failed, and were skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Runs it and fails when a check did.
pub(crate) fn task(options: &Options) -> Result<()> {
    let Counts { passed: _, failed, skipped: _ } = run(options)?;
    if failed > 0 {
        bail!("not everything works as it should");
    }
    Ok(())
}

/// Runs it and prints a line for each check.
pub(crate) fn run(options: &Options) -> Result<Counts> {
    let mut checks = checks::read()?;
    if let Some(part) = &options.only {
        checks.retain(|check| check.name.contains(part.as_str()));
    }
    let ground = Ground::make(options.data.as_deref(), options.mode)?;
    let outcome = ground
        .start(options.image.as_deref(), &checks::script(&checks)?)
        .and_then(|server| {
            let mut session = Session::begin(server.address)?;
            let table = play(&mut session, &checks);
            // With the session goes its sandbox, and the server takes the spawner with it when there is none left.
            session.delete()?;
            server.stop()?;
            table
        })
        .with_context(|| format!("its log is {}", ground.log().display()));
    // The log of a run that broke off stays, but no process of it.
    if outcome.is_err() {
        ground.end()?;
    }
    let table = outcome?;
    ground.remove()?;
    Ok(table.close())
}

fn play(session: &mut Session, checks: &[Check]) -> Result<Table> {
    let mut table = Table::new(checks);
    for check in checks {
        let started = Instant::now();
        let told = session.turn(&check.words()).with_context(|| format!("run {}", check.name))?;
        table.add(check, Outcome::read(&told), started.elapsed());
    }
    Ok(table)
}

/// A session whose turns are checks.
struct Session {
    address: SocketAddr,
    id: String,
    events: Events,
}

impl Session {
    fn begin(address: SocketAddr) -> Result<Self> {
        let mut client = Client::new(address, ground::KEY);
        let mut make = |path: &str, body: Value| -> Result<String> {
            let made = client.post(path, &body.to_string())?.json()?;
            Ok(made["id"].as_str().with_context(|| format!("{path} gave no id"))?.to_owned())
        };
        let tools = json!([{"type": "agent_toolset_20260401"}]);
        let agent = make("/v1/agents", json!({"name": MODEL, "model": MODEL, "tools": tools}))?;
        let config = json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": []}});
        let environment = make("/v1/environments", json!({"name": MODEL, "config": config}))?;
        let id =
            make("/v1/sessions", json!({"agent": agent, "environment_id": environment, "title": MODEL}))?;
        let events = client.stream(&format!("/v1/sessions/{id}/events/stream"), None)?;
        Ok(Self { address, id, events })
    }

    /// Plays one turn; gives what the tool of its last call said.
    fn turn(&mut self, words: &str) -> Result<String> {
        let content = json!([{"type": "text", "text": words}]);
        let body = json!({"events": [{"type": "user.message", "content": content}]});
        self.client().post(&format!("/v1/sessions/{}/events", self.id), &body.to_string())?.json()?;
        let mut told = String::new();
        loop {
            let Some(event) = self.events.next()? else { bail!("the stream ended before the turn did") };
            let event = event.json()?;
            match event["type"].as_str().unwrap_or_default() {
                "agent.tool_result" => told = text(&event),
                "session.error" => bail!("the session failed: {}", event["error"]["message"]),
                "session.status_idle" if event["stop_reason"]["type"] == "end_turn" => return Ok(told),
                "session.status_idle" => bail!("the session stopped: {}", event["stop_reason"]["type"]),
                "session.status_terminated" => bail!("the session was terminated"),
                // What else happens on the way is of no interest here.
                _ => {}
            }
        }
    }

    fn delete(&self) -> Result<()> {
        let mut client = self.client();
        client.send("DELETE", &format!("/v1/sessions/{}", self.id), None)?;
        client.receive()?.json().map(drop)
    }

    /// A client with a connection of its own: the server closes one that is idle for as long as a check may take.
    fn client(&self) -> Client {
        Client::new(self.address, ground::KEY)
    }
}

fn text(event: &Value) -> String {
    let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<&str>>().join("\n")
}
