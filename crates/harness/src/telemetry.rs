//! Metrics of the loop: sessions and their turns, tool calls, leases, jobs.

use std::time::Duration;

use api::entry::NewEntry;
use api::event_kinds::EventKind;
use api::time::Timestamp;
use serde_json::Value;
use store::Job;
use tokio::time::Instant;

const TURNS: &str = "journeyman_turns_total";
const TURN_SECONDS: &str = "journeyman_turn_seconds";
const SESSION_ERRORS: &str = "journeyman_session_errors_total";
const RETRIES: &str = "journeyman_model_retries_total";
const RECOVERED: &str = "journeyman_sessions_recovered_total";
const LEASES_HELD: &str = "journeyman_leases_held";
const LEASES_LOST: &str = "journeyman_leases_lost_total";
const UNHELD: &str = "journeyman_runnable_unheld";
const TOOL_SECONDS: &str = "gen_ai_execute_tool_duration_seconds";
const TOOLS_OPEN: &str = "journeyman_tool_calls_open";
const TOOL_UNKNOWN: &str = "journeyman_tool_outcome_unknown_total";
const JOBS: &str = "journeyman_jobs";
const JOB_LAG: &str = "journeyman_job_lag_seconds";
const JOB_SECONDS: &str = "journeyman_job_seconds";
const JOB_ATTEMPTS: &str = "journeyman_job_attempts_total";

const JOB_STATES: [&str; 3] = ["waiting", "running", "parked"];
/// Where calls run; there is one place so far.
const SANDBOX: &str = "sandbox";
/// The tools that have a label of their own.
const TOOLS: [&str; 6] = ["bash", "read", "write", "edit", "glob", "grep"];

/// Describes the metrics of this crate to the process's recorder.
pub(crate) fn describe() {
    metrics::describe_counter!(TURNS, "Turns that ended");
    metrics::describe_histogram!(TURN_SECONDS, "Seconds of a turn that began and ended under one driver");
    metrics::describe_counter!(SESSION_ERRORS, "Errors shown to clients as session.error, by what failed");
    metrics::describe_counter!(RETRIES, "Model requests that are sent again after a failure");
    metrics::describe_counter!(RECOVERED, "Sessions taken up from a driver that died");
    metrics::describe_gauge!(
        LEASES_HELD,
        "Leases of sessions that this process holds, as of the last renewal"
    );
    metrics::describe_counter!(LEASES_LOST, "Leases of sessions that another process took from a driver");
    metrics::describe_gauge!(UNHELD, "Sessions with work that nobody held at the last look");
    metrics::describe_histogram!(TOOL_SECONDS, "Seconds of a tool call, the making of its sandbox included");
    metrics::describe_gauge!(TOOLS_OPEN, "Tool calls under way");
    metrics::describe_counter!(TOOL_UNKNOWN, "Tool calls whose outcome a crash left unknown");
    metrics::describe_gauge!(JOBS, "Jobs that are open or parked, on all nodes that share the database");
    metrics::describe_histogram!(
        JOB_LAG,
        "Seconds from the time at which an attempt was due to its beginning"
    );
    metrics::describe_histogram!(JOB_SECONDS, "Seconds of an attempt at a job");
    metrics::describe_counter!(JOB_ATTEMPTS, "Attempts at jobs that ended");
    for reason in ["end_turn", "requires_action", "retries_exhausted"] {
        metrics::counter!(TURNS, "stop_reason" => reason).increment(0);
    }
    for cause in ["model", "server"] {
        metrics::counter!(SESSION_ERRORS, "cause" => cause).increment(0);
    }
    for reason in ["overloaded", "rate_limited", "failed"] {
        metrics::counter!(RETRIES, "reason" => reason).increment(0);
    }
    for gauge in [LEASES_HELD, UNHELD] {
        metrics::gauge!(gauge).increment(0);
    }
    for state in JOB_STATES {
        metrics::gauge!(JOBS, "kind" => crate::environments::BUILD, "state" => state).increment(0);
    }
    metrics::counter!(RECOVERED).increment(0);
    metrics::counter!(LEASES_LOST).increment(0);
    metrics::counter!(TOOL_UNKNOWN).increment(0);
    metrics::gauge!(TOOLS_OPEN, "runs" => SANDBOX).increment(0);
}

/// Counts the turns of one session.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    begun_at: Option<Timestamp>,
}

impl Turns {
    /// Whether an entry is one of those that are counted.
    pub(crate) fn counts(entry: &NewEntry) -> bool {
        matches!(
            entry.kind,
            EventKind::SessionStatusRunning | EventKind::SessionStatusIdle | EventKind::SessionError
        )
    }

    /// Counts an entry that a driver has made durable.
    pub(crate) fn count(&mut self, entry: &NewEntry) {
        let event = || -> Value {
            let public = entry.public.as_ref().map_or("null", |public| public.get());
            serde_json::from_str(public).unwrap_or_default()
        };
        if entry.kind == EventKind::SessionStatusRunning {
            self.begun_at = Some(entry.created_at);
        } else if entry.kind == EventKind::SessionStatusIdle {
            self.end(entry.created_at, event()["stop_reason"]["type"].as_str());
        } else if entry.kind == EventKind::SessionError {
            count_error(&event()["error"]);
        }
    }

    fn end(&mut self, at: Timestamp, stop_reason: Option<&str>) {
        let reason = match stop_reason {
            Some("requires_action") => "requires_action",
            Some("retries_exhausted") => "retries_exhausted",
            Some(_) | None => "end_turn",
        };
        metrics::counter!(TURNS, "stop_reason" => reason).increment(1);
        if let Some(begun_at) = self.begun_at.take() {
            let ms = at.millis_since(begun_at).max(0);
            metrics::histogram!(TURN_SECONDS).record(Duration::from_millis(ms.unsigned_abs()));
        }
    }
}

fn count_error(error: &Value) {
    let (cause, reason) = match error["type"].as_str() {
        Some("model_overloaded_error") => ("model", "overloaded"),
        Some("model_rate_limited_error") => ("model", "rate_limited"),
        Some("model_request_failed_error" | "billing_error" | "tool_use_limit_reached_error") => {
            ("model", "failed")
        }
        Some(_) | None => ("server", "failed"),
    };
    metrics::counter!(SESSION_ERRORS, "cause" => cause).increment(1);
    if error["retry_status"]["type"] == "retrying" {
        metrics::counter!(RETRIES, "reason" => reason).increment(1);
    }
}

/// A tool call under way.
pub(crate) struct Call {
    tool: &'static str,
    begun: Instant,
}

impl Call {
    pub(crate) fn begin(tool: &str) -> Self {
        metrics::gauge!(TOOLS_OPEN, "runs" => SANDBOX).increment(1);
        let tool = TOOLS.into_iter().find(|known| *known == tool).unwrap_or("other");
        Self { tool, begun: Instant::now() }
    }

    /// `error` is why there is no result, or `tool` when the tool itself says that it failed.
    pub(crate) fn end(self, error: Option<&'static str>) {
        let error = error.unwrap_or("none");
        metrics::histogram!(TOOL_SECONDS, "tool" => self.tool, "runs" => SANDBOX, "error_type" => error)
            .record(self.begun.elapsed());
    }
}

/// A call that is dropped before its end was interrupted.
impl Drop for Call {
    fn drop(&mut self) {
        metrics::gauge!(TOOLS_OPEN, "runs" => SANDBOX).decrement(1);
    }
}

pub(crate) fn count_unknown_call() {
    metrics::counter!(TOOL_UNKNOWN).increment(1);
}

pub(crate) fn count_recovered() {
    metrics::counter!(RECOVERED).increment(1);
}

pub(crate) fn count_lost_lease() {
    metrics::counter!(LEASES_LOST).increment(1);
}

pub(crate) fn show_leases(held: usize) {
    metrics::gauge!(LEASES_HELD).set(figure(held));
}

pub(crate) fn show_unheld(sessions: usize) {
    metrics::gauge!(UNHELD).set(figure(sessions));
}

/// Shows how many jobs there are, by kind and state; kinds that had some at the last look have none now.
pub(crate) fn show_jobs(counts: &store::JobCounts, kinds: &[&'static str]) {
    for kind in kinds {
        for state in JOB_STATES {
            let count = counts.get(&((*kind).to_owned(), state)).copied().unwrap_or(0);
            metrics::gauge!(JOBS, "kind" => *kind, "state" => state).set(figure(count));
        }
    }
}

/// An attempt at a job, which was due so long ago.
pub(crate) fn begin_attempt(kind: &'static str, job: &Job) -> Instant {
    let lag = Duration::from_micros(job.late_by_us.max(0).unsigned_abs());
    metrics::histogram!(JOB_LAG, "kind" => kind).record(lag);
    Instant::now()
}

pub(crate) fn end_attempt(kind: &'static str, begun: Instant, outcome: &'static str) {
    metrics::histogram!(JOB_SECONDS, "kind" => kind).record(begun.elapsed());
    metrics::counter!(JOB_ATTEMPTS, "kind" => kind, "outcome" => outcome).increment(1);
}

/// A count as the recorder takes it.
fn figure(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
