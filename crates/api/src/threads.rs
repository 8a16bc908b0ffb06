//! Threads: lines of work within a session. Every session has a primary one; others come with orchestration.

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::value::RawValue;

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
    pub agent: &'a RawValue,
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
        #[derive(Serialize)]
        struct Answer<'a> {
            id: &'a ThreadId,
            r#type: &'static str,
            session_id: &'a SessionId,
            parent_thread_id: Option<()>,
            workflow_run_id: Option<()>,
            agent: Map<String, Value>,
            status: SessionStatus,
            usage: Option<SessionUsage>,
            stats: Option<ThreadStats>,
            created_at: Timestamp,
            updated_at: Timestamp,
            archived_at: Option<Timestamp>,
        }
        let Self { id, session_id, agent, status, progress, created_at, updated_at, archived_at } = *self;
        let end = if status == SessionStatus::Terminated { updated_at } else { now };
        json(&Answer {
            id,
            r#type: "session_thread",
            session_id,
            parent_thread_id: None,
            workflow_run_id: None,
            agent: without_roster(agent),
            status,
            usage: progress.has_idled.then(|| SessionUsage::new(progress, now)),
            stats: progress.has_started().then(|| ThreadStats {
                active_seconds: seconds(progress.active_ms_at(now)),
                duration_seconds: seconds(end.millis_since(created_at)),
                startup_seconds: progress.startup_ms.map(seconds),
            }),
            created_at,
            updated_at,
            archived_at,
        })
    }
}

/// The agent without the agents that it may call, which only the session shows.
fn without_roster(agent: &RawValue) -> Map<String, Value> {
    let mut fields: Map<String, Value> = serde_json::from_str(agent.get()).unwrap_or_default();
    fields.shift_remove("multiagent");
    fields
}
