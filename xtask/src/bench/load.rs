//! The load: clients, each a thread with one connection and one stream, doing the same operation over and over.
//!
//! Work is done in rounds. What an operation needs (a session, its sandbox) is prepared before the clock of a round
//! starts, and sessions are short, so that the growth of a conversation does not blur the figures.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use serde_json::Value;
use serde_json::json;

use crate::http::Client;
use crate::http::Events;

/// Operations of one client in one round.
const ROUND: u32 = 40;
/// Rounds go on until this many operations were timed.
const SAMPLES_MIN: usize = 400;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Creating a session.
    Create,
    /// From the POST of a message to the first event on a stream that is open already.
    FirstEvent,
    /// A message that the model answers with text, to the end of the turn.
    TextTurn,
    /// A message, a model call, a command, another model call, to the end of the turn.
    ToolTurn,
    /// The same as the first turn of a session: the sandbox is made.
    FreshToolTurn,
    /// A tool turn whose call is looked up in the log afterwards.
    WarmCall,
}

impl Operation {
    /// How it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "session create",
            Self::FirstEvent => "message to first event",
            Self::TextTurn => "text turn",
            Self::ToolTurn => "tool turn (two model calls, one bash)",
            Self::FreshToolTurn => "first tool turn of a session, sandbox made",
            Self::WarmCall => "call in a warm sandbox",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Create | Self::FirstEvent | Self::TextTurn => "TEXT-ONLY",
            Self::ToolTurn | Self::FreshToolTurn | Self::WarmCall => "RUN: true",
        }
    }
}

/// What came out.
#[derive(Default)]
pub(crate) struct Measured {
    /// One for each operation.
    pub(crate) latencies: Vec<Duration>,
    /// For fresh sessions and warm calls: from the tool call's event to its result's event, by the log's own times.
    pub(crate) calls: Vec<Duration>,
    /// Operations by wall-clock time, all clients together.
    pub(crate) per_second: f64,
}

/// A server under load.
pub(crate) struct Load {
    address: SocketAddr,
    key: String,
    /// What sessions are made with, in turns.
    creates: Vec<String>,
    created: AtomicUsize,
}

/// One session of one client.
struct Seat {
    client: Client,
    session: String,
    events: Events,
}

impl Load {
    /// Makes the agent and the environment that all sessions use.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Result<Self> {
        let mut client = Client::new(address, key);
        let tools = json!([{"type": "agent_toolset_20260401"}]);
        let agent = json!({"name": "bench", "model": "claude-sonnet-5-5", "tools": tools}).to_string();
        let agent = client.post("/v1/agents", &agent)?.json()?;
        let environment = json!({"name": "bench", "config": {"type": "cloud"}}).to_string();
        let environment = client.post("/v1/environments", &environment)?.json()?;
        let create = json!({"agent": agent["id"], "environment_id": environment["id"]}).to_string();
        Ok(Self { address, key: key.to_owned(), creates: vec![create], created: AtomicUsize::new(0) })
    }

    /// From now on each session has another kind of sandbox than the one before it, so that none that was made for
    /// whoever comes next is of use.
    pub(crate) fn vary_sandboxes(&mut self) -> Result<()> {
        let mut client = Client::new(self.address, &self.key);
        let environment = json!({"name": "bench, other", "config": {"type": "cloud"}}).to_string();
        let environment = client.post("/v1/environments", &environment)?.json()?;
        let id = environment["id"].as_str().context("an environment has an id")?;
        let settings = json!({"variables": {"KIND": "other"}}).to_string();
        client.post(&format!("/x/v1/environments/{id}/sandbox"), &settings)?.json()?;
        let first = self.creates.first().context("there is one kind of session")?;
        let mut create: Value = serde_json::from_str(first).context("read what sessions are made with")?;
        create["environment_id"] = json!(id);
        self.creates.push(create.to_string());
        Ok(())
    }

    /// Does an operation with so many clients at once.
    pub(crate) fn measure(&self, operation: Operation, clients: u32) -> Result<Measured> {
        let mut all = Measured::default();
        let mut wall = Duration::ZERO;
        while all.latencies.len() < SAMPLES_MIN {
            let start = Barrier::new(clients as usize);
            let results: Vec<Result<(Measured, Instant, Instant)>> = thread::scope(|scope| {
                let client = || scope.spawn(|| self.round(operation, &start));
                let threads: Vec<_> = (0..clients).map(|_| client()).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?)
                    .collect()
            });
            let mut began: Option<Instant> = None;
            let mut ended: Option<Instant> = None;
            for result in results {
                let (measured, from, to) = result?;
                all.latencies.extend(measured.latencies);
                all.calls.extend(measured.calls);
                began = Some(began.map_or(from, |began| began.min(from)));
                ended = Some(ended.map_or(to, |ended| ended.max(to)));
            }
            wall += ended.zip(began).map(|(ended, began)| ended - began).context("a round has clients")?;
        }
        let count = u32::try_from(all.latencies.len()).context("count operations")?;
        all.per_second = f64::from(count) / wall.as_secs_f64();
        Ok(all)
    }

    /// So many new sessions.
    pub(crate) fn sessions(&self, count: u32) -> Result<Vec<String>> {
        let mut client = Client::new(self.address, &self.key);
        (0..count).map(|_| self.create(&mut client)).collect()
    }

    /// Wakes each session once.
    pub(crate) fn one_text_turn_each(&self, sessions: &[String]) -> Result<()> {
        for session in sessions {
            let mut seat = self.seat(session.clone())?;
            seat.turn(Operation::TextTurn.message())?;
        }
        Ok(())
    }

    /// One client's part of a round: prepares, waits for the others, works.
    fn round(&self, operation: Operation, start: &Barrier) -> Result<(Measured, Instant, Instant)> {
        let prepared = self.prepare(operation);
        // A client that could not prepare still lets the others go.
        start.wait();
        let mut seat = prepared?;
        let began = Instant::now();
        let mut measured = Measured::default();
        for _ in 0..ROUND {
            let latency = match operation {
                Operation::Create => {
                    let at = Instant::now();
                    self.create(&mut seat.client)?;
                    at.elapsed()
                }
                Operation::FirstEvent => seat.first_event(operation.message())?,
                Operation::TextTurn | Operation::ToolTurn => seat.turn(operation.message())?,
                Operation::WarmCall => {
                    let latency = seat.turn(operation.message())?;
                    measured.calls.push(seat.last_call()?);
                    latency
                }
                Operation::FreshToolTurn => {
                    // The sandbox of the last session goes before the next one comes, outside the clock.
                    let mut fresh = self.seat(self.create(&mut seat.client)?)?;
                    let latency = fresh.turn(operation.message())?;
                    measured.calls.push(fresh.last_call()?);
                    fresh.archive()?;
                    latency
                }
            };
            measured.latencies.push(latency);
        }
        let ended = Instant::now();
        seat.archive()?;
        Ok((measured, began, ended))
    }

    /// The session of one client for one round, warm.
    fn prepare(&self, operation: Operation) -> Result<Seat> {
        let mut client = Client::new(self.address, &self.key);
        let mut seat = self.seat(self.create(&mut client)?)?;
        seat.turn(operation.message())?;
        Ok(seat)
    }

    fn create(&self, client: &mut Client) -> Result<String> {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let session = client.post("/v1/sessions", &self.creates[number % self.creates.len()])?.json()?;
        Ok(session["id"].as_str().context("a session has an id")?.to_owned())
    }

    fn seat(&self, session: String) -> Result<Seat> {
        let client = Client::new(self.address, &self.key);
        let events = client.stream(&format!("/v1/sessions/{session}/events/stream"), None)?;
        Ok(Seat { client, session, events })
    }
}

impl Seat {
    /// Sends a message and waits for the end of the turn.
    fn turn(&mut self, message: &str) -> Result<Duration> {
        let began = self.send(message)?;
        self.rest()?;
        let took = began.elapsed();
        self.client.receive()?.json()?;
        Ok(took)
    }

    /// Sends a message and waits for the first event; the rest of the turn is not timed.
    fn first_event(&mut self, message: &str) -> Result<Duration> {
        let began = self.send(message)?;
        self.events.next()?.context("the stream ended")?;
        let took = began.elapsed();
        self.rest()?;
        self.client.receive()?.json()?;
        Ok(took)
    }

    fn send(&mut self, message: &str) -> Result<Instant> {
        let content = json!([{"type": "text", "text": message}]);
        let body = json!({"events": [{"type": "user.message", "content": content}]}).to_string();
        let began = Instant::now();
        self.client.send("POST", &format!("/v1/sessions/{}/events", self.session), Some(&body))?;
        Ok(began)
    }

    fn rest(&mut self) -> Result<()> {
        loop {
            let event = self.events.next()?.context("the stream ended within a turn")?;
            if event.data.contains("\"session.status_idle\"") {
                return Ok(());
            }
        }
    }

    /// How long the session's last tool call took, by the times in the log.
    fn last_call(&mut self) -> Result<Duration> {
        let log = self.client.get(&format!("/v1/sessions/{}/events?order=desc", self.session))?.json()?;
        let time = |kind: &str| {
            let mut events = log["data"].as_array().into_iter().flatten();
            let event = events.find(|event| event["type"] == kind);
            micros(event.map_or(&Value::Null, |event| &event["processed_at"]))
        };
        let called = time("agent.tool_use").context("find the tool call")?;
        let answered = time("agent.tool_result").context("find the tool result")?;
        Ok(Duration::from_micros(answered.saturating_sub(called)))
    }

    fn archive(&mut self) -> Result<()> {
        self.client.post(&format!("/v1/sessions/{}/archive", self.session), "{}")?.json().map(drop)
    }
}

/// Microseconds within the day of a timestamp such as `2026-01-02T03:04:05.678901Z`: enough for differences.
fn micros(time: &Value) -> Option<u64> {
    let (_, time) = time.as_str()?.trim_end_matches('Z').split_once('T')?;
    let (clock, fraction) = time.split_once('.')?;
    let mut seconds = 0;
    for part in clock.split(':') {
        seconds = seconds * 60 + part.parse::<u64>().ok()?;
    }
    let fraction = format!("{fraction:0<6}");
    Some(seconds * 1_000_000 + fraction.get(..6)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_read_to_the_microsecond() {
        assert_eq!(micros(&json!("2026-01-02T00:01:01.5Z")), Some(61_500_000));
        assert_eq!(micros(&json!("2026-01-02T00:00:00.000007Z")), Some(7));
        assert_eq!(micros(&Value::Null), None);
    }
}
