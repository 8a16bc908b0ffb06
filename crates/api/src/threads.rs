//! Threads: lines of work within a session. Every session has a primary one; others come with orchestration.

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::ids::SessionId;
use crate::ids::ThreadId;
use crate::render::json;
use crate::render::seconds;
use crate::sessions::Progress;
use crate::sessions::SessionStatus;
use crate::time::Timestamp;
use crate::usage::SessionUsage;

/// The parts of an answer about a session's primary thread.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a> {
    /// Which thread.
    pub id: &'a ThreadId,
    /// The session it belongs to.
    pub session_id: &'a SessionId,
    /// The session's agent as JSON.
    pub agent: &'a str,
    /// What it does now.
    pub status: SessionStatus,
    /// Its course so far.
    pub progress: &'a Progress,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

/// The `stats` of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct ThreadStats {
    active_seconds: f64,
    duration_seconds: f64,
    startup_seconds: Option<f64>,
}

impl Thread<'_> {
    /// The answer. `now` is what its clocks show.
    pub fn render(&self, now: Timestamp) -> String {
        let Self { id, session_id, agent, status, progress, created_at, updated_at, archived_at } = *self;
        let end = if status == SessionStatus::Terminated { updated_at } else { now };
        let stats = progress.has_started().then(|| ThreadStats {
            active_seconds: seconds(progress.active_ms_at(now)),
            duration_seconds: seconds(end.millis_since(created_at)),
            startup_seconds: progress.startup_ms.map(seconds),
        });
        let stats = json(&stats);
        let usage = json(&progress.has_idled.then(|| SessionUsage::new(progress, now)));
        let agent = without_roster(agent);
        let archived_at = json(&archived_at);
        format!(
            "{{\"id\":\"{id}\",\"type\":\"session_thread\",\"session_id\":\"{session_id}\",\
             \"parent_thread_id\":null,\"workflow_run_id\":null,\"agent\":{agent},\"status\":\"{status}\",\
             \"usage\":{usage},\"stats\":{stats},\"created_at\":\"{created_at}\",\"updated_at\":\"{updated_at}\",\
             \"archived_at\":{archived_at}}}"
        )
    }
}

/// The agent without the agents that it may call, which only the session shows.
fn without_roster(agent: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(agent).unwrap_or_default();
    fields.shift_remove("multiagent");
    json(&fields)
}
