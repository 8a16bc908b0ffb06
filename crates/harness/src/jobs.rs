//! Runs jobs: the durable work that other commits have written.
//!
//! One worker per process takes the leases of jobs that are due, runs the handler of their kind, and keeps the leases alive
//! meanwhile. It wakes when a job is written and when one becomes due, and looks every second in any case. An attempt that
//! fails, panics or takes too long is repeated after a pause that doubles; when the attempts are used up the job is parked
//! with its last error. An attempt whose lease is lost is aborted, and the store refuses whatever it still tries to write.
//!
//! A handler may be stopped between any two lines and run again, here or on another node. What it does must therefore be
//! harmless when it is done twice, or be written to the store in the commit that ends the job.
//!
//! A new kind is a file in `jobs/` with its handler, and a line in [`handlers`].

mod build;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store::Job;

use crate::Inner;

pub use worker::Worker;

/// The bounds of a kind of jobs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Name of the kind, as in [`store::NewJob::kind`].
    pub kind: &'static str,
    /// Attempts at jobs of this kind that one process runs at the same time.
    pub at_once_max: usize,
    /// Attempts at one job before it is parked. Those that a crash cut short count too.
    pub attempts_max: i64,
    /// The longest that an attempt may take.
    pub attempt_max: Duration,
    /// Pause after the first failed attempt; it doubles with each further one.
    pub pause_ms: i64,
    /// The longest pause.
    pub pause_ms_max: i64,
}

/// What runs the jobs of one kind.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The bounds of the kind.
    fn rules(&self) -> Rules;

    /// Makes one attempt.
    async fn run(&self, job: &Job) -> Result<Done, Failure>;
}

/// How an attempt that succeeded ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The worker ends the job.
    Effect,
    /// The handler has ended the job itself, in the commit of its last effect.
    Committed,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The next attempt may succeed.
    #[error("{reason}")]
    Transient {
        /// Stored with the job.
        reason: String,
    },
    /// No attempt can succeed: the job is parked.
    #[error("{reason}")]
    Permanent {
        /// Stored with the job.
        reason: String,
    },
}

impl Rules {
    /// The pause after so many failed attempts.
    fn pause_after(&self, attempts: i64) -> i64 {
        let doublings = attempts.saturating_sub(1).clamp(0, 32);
        self.pause_ms.saturating_mul(1_i64 << doublings).min(self.pause_ms_max)
    }
}

/// Starts the worker of this process, until the tasks are shut down.
pub(crate) fn start(inner: &Arc<Inner>) {
    let worker = Worker {
        store: inner.parts.store.clone(),
        tasks: inner.tasks.clone(),
        claim: inner.claim(),
        home: inner.parts.life.node.clone(),
        handlers: handlers(inner),
        crash: inner.parts.crash.clone(),
    };
    drop(inner.tasks.spawn("run jobs", worker.run()));
}

/// Gives back what this process was running.
pub(crate) async fn stop(inner: &Inner) {
    if let Err(error) = inner.parts.store.release_jobs(&inner.parts.node).await {
        tracing::warn!(error = %error, "give jobs back failed; their leases run out");
    }
}

/// One handler per kind.
fn handlers(inner: &Inner) -> Vec<Arc<dyn Handler>> {
    vec![Arc::new(build::Builds(inner.hands.environments.clone()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_whatever_the_number_of_attempts() {
        let rules = Rules {
            kind: "test",
            at_once_max: 1,
            attempts_max: i64::MAX,
            attempt_max: Duration::from_secs(1),
            pause_ms: 1_000,
            pause_ms_max: 60_000,
        };
        let pauses = [0, 1, 2, 3, 6, 7, 40, 1_000, i64::MAX].map(|attempts| rules.pause_after(attempts));
        assert_eq!(pauses, [1_000, 1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000, 60_000]);
    }
}
