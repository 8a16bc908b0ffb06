//! The life of one session under fire: turns, then an audit, then the archive; and the next one begins.
//!
//! The client behaves as a careful client does. What is safe to repeat (reading) is repeated until the server is back.
//! A message whose answer never came is not sent again: it may or may not be in the log, and the audit allows both.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

use super::Shared;
use super::audit;
use super::audit::Record;
use crate::http::Client;
use crate::http::Events;

/// Turns of one session. Sessions stay short, so that the log and the context stay small over thousands of kills.
const TURNS: u32 = 12;
/// Commands of a turn; the model calls them in parallel.
const COMMANDS: u32 = 2;
/// Nothing may take longer than this, kills and restarts included.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between attempts while the server is down.
const PAUSE: Duration = Duration::from_millis(3);
/// How often the effects are asked for: a kill can make that call ambiguous too.
const READINGS_MAX: u32 = 50;

/// Makes the agent and the environment that all sessions use.
pub(crate) fn prepare(address: SocketAddr, key: &str) -> Result<(String, String)> {
    let mut client = Client::new(address, key);
    let agent =
        json!({"name": "crash", "model": "claude-opus-4-5", "tools": [{"type": "agent_toolset_20260401"}]});
    let agent = client.post("/v1/agents", &agent.to_string())?.json()?;
    let environment =
        json!({"name": "crash", "config": {"type": "cloud", "networking": {"type": "unrestricted"}}});
    let environment = client.post("/v1/environments", &environment.to_string())?.json()?;
    Ok((text(&agent["id"])?, text(&environment["id"])?))
}

/// Lives one session after the other until the run is over, and adds up what the audits found.
pub(crate) fn live(shared: &Shared) {
    while !shared.is_over.load(Ordering::SeqCst) {
        let mut life = Life::new(shared);
        if let Err(error) = life.run() {
            let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.unfinished += 1;
            counts.complain(&life.record.session, &format!("{error:#}"));
        }
    }
}

/// One session as its client sees it.
pub(super) struct Life<'a> {
    shared: &'a Shared,
    client: Client,
    record: Record,
    stream: Option<Events>,
    last_event_id: Option<String>,
}

impl<'a> Life<'a> {
    /// A client that has no session yet.
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            client: Client::new(shared.address, &shared.key),
            record: Record::default(),
            stream: None,
            last_event_id: None,
        }
    }

    /// Goes on with the session at another server, be it the next one in the place of the last.
    fn turn_to(&mut self, address: SocketAddr) {
        self.client = Client::new(address, &self.shared.key);
        self.stream = None;
    }

    fn run(&mut self) -> Result<()> {
        self.create()?;
        for turn in 0..TURNS {
            if self.shared.is_over.load(Ordering::SeqCst) && turn > 0 {
                break;
            }
            self.turn(turn)?;
        }
        self.audit()?;
        self.archive()
    }

    /// Compares what the client knows with the log and with what the commands left behind.
    pub(super) fn audit(&mut self) -> Result<()> {
        let effects = self.effects()?;
        let log = self.log()?;
        audit::audit(&self.record, &log, &effects, &self.shared.counts);
        Ok(())
    }

    /// A creation whose answer never came leaves an idle session behind, which harms nobody.
    pub(super) fn create(&mut self) -> Result<()> {
        let body = json!({"agent": self.shared.agent, "environment_id": self.shared.environment}).to_string();
        let session =
            self.persist("create a session", |client| client.post("/v1/sessions", &body)?.json())?;
        self.record.session = text(&session["id"])?;
        Ok(())
    }

    /// Sends one message and, when it was acknowledged, waits until it is answered. Answers whether it was.
    pub(super) fn turn(&mut self, turn: u32) -> Result<bool> {
        let lines: Vec<String> = (0..COMMANDS).map(|command| format!("t{turn}c{command}")).collect();
        let commands: Vec<String> =
            lines.iter().map(|line| format!("RUN: echo {line} >> /workspace/effects")).collect();
        self.record.issued.extend(lines);
        let is_acknowledged = self.send(&commands.join("\n"))?;
        if is_acknowledged {
            self.settle()?;
        }
        Ok(is_acknowledged)
    }

    /// The same at a server that runs, where the message must not get lost.
    pub(super) fn whole_turn(&mut self, address: SocketAddr, turn: u32) -> Result<()> {
        self.turn_to(address);
        if self.turn(turn)? {
            Ok(())
        } else {
            bail!("message {turn} was not acknowledged by a server that runs")
        }
    }

    /// Sends a user message once. False when no answer came.
    fn send(&mut self, message: &str) -> Result<bool> {
        // The stream is opened first, so that it misses nothing of what follows.
        self.connect();
        let content = json!([{"type": "text", "text": message}]);
        let body = json!({"events": [{"type": "user.message", "content": content}]}).to_string();
        let Ok(response) = self.client.post(&self.path("/events"), &body) else {
            let path = self.path("");
            self.persist("wait for the server", |client| client.get(&path)?.json())?;
            return Ok(false);
        };
        let sent = response.json()?;
        self.shared.progress.fetch_add(1, Ordering::SeqCst);
        for event in sent["data"].as_array().context("sent events are answered as a list")? {
            self.record.acknowledged.push(text(&event["id"])?);
        }
        Ok(true)
    }

    /// Follows the stream, over kills, until the session is idle and nothing waits.
    fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        if self.is_settled()? {
            return Ok(());
        }
        while Instant::now() < deadline {
            let has_news = if self.stream.is_some() { self.follow()? } else { self.connect() };
            if has_news && self.is_settled()? {
                return Ok(());
            }
        }
        bail!("the session was not idle {PATIENCE:?} after a message")
    }

    /// Takes one event off the stream; true when it is the end of a turn. A stream that broke is closed.
    fn follow(&mut self) -> Result<bool> {
        let next = self.stream.as_mut().map(Events::next);
        let Some(Ok(Some(event))) = next else {
            self.stream = None;
            return Ok(false);
        };
        let content = event.json()?;
        self.last_event_id = event.id.or_else(|| self.last_event_id.take());
        // A message that waits is shown once without a time, which is not its place in the order.
        if !content["processed_at"].is_null() {
            self.record.streamed.push(text(&content["id"])?);
        }
        Ok(content["type"] == "session.status_idle")
    }

    /// Opens the stream where it broke off; true when it was closed before. Without a stream the server is down, and
    /// the next attempt comes after a pause.
    fn connect(&mut self) -> bool {
        if self.stream.is_some() || self.record.session.is_empty() {
            return false;
        }
        self.stream = self.client.stream(&self.path("/events/stream"), self.last_event_id.as_deref()).ok();
        if self.stream.is_none() {
            thread::sleep(PAUSE);
        }
        self.stream.is_some()
    }

    /// Whether the newest event is the end of a turn. A message that waits would be newer.
    fn is_settled(&mut self) -> Result<bool> {
        let path = self.path("/events?order=desc&limit=1");
        let newest = self.persist("read the newest event", |client| client.get(&path)?.json())?;
        // No event at all: every message so far was sent in vain.
        Ok(newest["data"].as_array().is_some_and(Vec::is_empty)
            || newest["data"][0]["type"] == "session.status_idle")
    }

    /// What the commands left behind, as a last turn reads it.
    pub(super) fn effects(&mut self) -> Result<Vec<String>> {
        for _ in 0..READINGS_MAX {
            // A message whose answer never came may still be worked on.
            self.settle()?;
            if !self.send("RUN: cat /workspace/effects 2>/dev/null; echo end")? {
                continue;
            }
            self.settle()?;
            let path = self.path("/events?order=desc&limit=1&types[]=agent.tool_result");
            let newest = self.persist("read the effects", |client| client.get(&path)?.json())?;
            let result = &newest["data"][0];
            let output = result["content"][0]["text"].as_str().unwrap_or_default();
            if result["is_error"] != true && output.trim_end().ends_with("end") {
                return Ok(output.lines().map(str::to_owned).filter(|line| line != "end").collect());
            }
        }
        bail!("the effects could not be read in {READINGS_MAX} attempts")
    }

    /// The whole log over the public API.
    pub(super) fn log(&mut self) -> Result<Vec<Value>> {
        let mut log = Vec::new();
        let mut path = self.path("/events?limit=100");
        loop {
            let page = self.persist("list events", |client| client.get(&path)?.json())?;
            log.extend(page["data"].as_array().context("a page has data")?.iter().cloned());
            let Some(next) = page["next_page"].as_str() else { return Ok(log) };
            path = self.path(&format!("/events?limit=100&page={next}"));
        }
    }

    /// Ends the session, after which nothing of its sandbox may be left.
    pub(super) fn archive(&mut self) -> Result<()> {
        let path = self.path("/archive");
        self.persist("archive a session", |client| client.post(&path, "{}")?.json()).map(drop)
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.record.session)
    }

    /// Does what is safe to repeat until it succeeds.
    fn persist<T>(&mut self, what: &str, mut attempt: impl FnMut(&mut Client) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt(&mut self.client) {
                Ok(value) => {
                    self.shared.progress.fetch_add(1, Ordering::SeqCst);
                    return Ok(value);
                }
                Err(error) if Instant::now() >= deadline => return Err(error.context(what.to_owned())),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no string"))?.to_owned())
}
