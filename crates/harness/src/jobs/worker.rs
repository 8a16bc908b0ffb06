//! The loop that takes jobs and runs them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use store::Claim;
use store::Job;
use store::Store;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::Done;
use super::Failure;
use super::Handler;
use super::Rules;
use crate::CrashPoint;
use crate::crash;
use crate::error::chain;
use crate::limits;
use crate::tasks::Tasks;
use crate::telemetry;

/// What runs the jobs of one process.
pub struct Worker {
    /// Where the jobs are.
    pub store: Store,
    /// Attempts are tasks of this set.
    pub tasks: Tasks,
    /// The process that holds the leases, and for how long unless it renews them.
    pub claim: Claim,
    /// The data folder of the process, for jobs that are bound to it.
    pub home: String,
    /// One handler per kind.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Where to die, in crash tests.
    pub crash: Option<CrashPoint>,
}

/// Attempts under way, by the number of their job.
type Running = HashMap<i64, Attempt>;

struct Attempt {
    epoch: i64,
    kind: &'static str,
    task: AbortHandle,
}

/// Without the worker nobody renews their leases.
impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    /// Runs until cancelled.
    pub async fn run(self) {
        let mut news = self.store.job_news();
        let mut running = Running::new();
        let (reporter, mut ended) = mpsc::channel(limits::REPORTS_MAX);
        let mut renewals = ticks(Duration::from_millis(self.claim.ttl_ms.unsigned_abs() / 3));
        let mut cleanings = ticks(limits::JOBS_CLEANED_EVERY);
        let mut counts = ticks(limits::JOBS_COUNTED_EVERY);
        loop {
            // What is written from here on wakes the worker again.
            news.mark_unchanged();
            let wait = match self.take(&mut running, &reporter).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "look for jobs failed; trying again");
                    limits::JOBS_POLLED_EVERY
                }
            };
            tokio::select! {
                Some(id) = ended.recv() => forget(&mut running, id),
                changed = news.changed() => if changed.is_err() { return },
                _ = renewals.tick() => self.renew(&mut running).await,
                _ = cleanings.tick() => self.clean().await,
                _ = counts.tick() => self.count().await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Starts what is due, as far as there is room. Answers how long nothing else will be.
    async fn take(
        &self,
        running: &mut Running,
        reporter: &mpsc::Sender<(i64, i64)>,
    ) -> Result<Duration, store::Error> {
        loop {
            let room: Vec<(&str, usize)> =
                self.handlers.iter().filter_map(|handler| room(running, &handler.rules())).collect();
            if room.is_empty() {
                return Ok(limits::JOBS_POLLED_EVERY);
            }
            let kinds: Vec<&str> = room.iter().map(|(kind, _)| *kind).collect();
            match self.store.next_job_in(&kinds, &self.home).await? {
                None => return Ok(limits::JOBS_POLLED_EVERY),
                Some(micros) if micros > 0 => {
                    return Ok(Duration::from_micros(micros.unsigned_abs()).min(limits::JOBS_POLLED_EVERY));
                }
                Some(_) => {}
            }
            let jobs = self.store.claim_jobs(&room, &self.claim, &self.home).await?;
            if jobs.is_empty() {
                // Another node was faster.
                return Ok(limits::JOBS_POLLED_EVERY);
            }
            for job in jobs {
                self.start(running, reporter.clone(), job);
            }
        }
    }

    fn start(&self, running: &mut Running, reporter: mpsc::Sender<(i64, i64)>, job: Job) {
        let Some(handler) = self.handlers.iter().find(|handler| handler.rules().kind == job.kind) else {
            return;
        };
        let (handler, store, crash) = (Arc::clone(handler), self.store.clone(), self.crash.clone());
        let (id, epoch, kind) = (job.id, job.epoch, handler.rules().kind);
        let task = self.tasks.spawn("run a job", async move {
            attempt(handler.as_ref(), &store, &job, crash.as_ref()).await;
            // Fails only when the worker is gone.
            reporter.send((job.id, job.epoch)).await.ok();
        });
        // An attempt of before, whose lease was lost without a word, is aborted.
        running.insert(id, Attempt { epoch, kind, task: task.abort_handle() });
    }

    async fn renew(&self, running: &mut Running) {
        let held: Vec<(i64, i64)> = running.iter().map(|(id, attempt)| (*id, attempt.epoch)).collect();
        if held.is_empty() {
            return;
        }
        match self.store.renew_jobs(&held, self.claim.ttl_ms).await {
            Ok(lost) => {
                for id in lost {
                    if running.remove(&id).is_some() {
                        tracing::warn!(job.id = id, "job {id} was taken over by another attempt");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "renew {} jobs failed; trying again", held.len());
            }
        }
    }

    async fn count(&self) {
        let kinds: Vec<&'static str> = self.handlers.iter().map(|handler| handler.rules().kind).collect();
        match self.store.job_counts().await {
            Ok(counts) => telemetry::show_jobs(&counts, &kinds),
            Err(error) => tracing::warn!(error = chain(&error), "count jobs failed; trying again"),
        }
    }

    async fn clean(&self) {
        if let Err(error) = self.store.forget_jobs(limits::JOBS_KEPT_MS).await {
            tracing::warn!(error = chain(&error), "forget old jobs failed; trying again");
        }
    }
}

/// How many more jobs of a kind may run; `None` when there is no room.
fn room(running: &Running, rules: &Rules) -> Option<(&'static str, usize)> {
    let count = running.values().filter(|attempt| attempt.kind == rules.kind).count();
    let left = rules.at_once_max.saturating_sub(count);
    (left > 0).then_some((rules.kind, left))
}

fn forget(running: &mut Running, (id, epoch): (i64, i64)) {
    if running.get(&id).is_some_and(|attempt| attempt.epoch == epoch) {
        running.remove(&id);
    }
}

/// One attempt, from its lease to its end.
async fn attempt(handler: &dyn Handler, store: &Store, job: &Job, crash: Option<&CrashPoint>) {
    crash::point(crash, "job_claimed");
    let kind = handler.rules().kind;
    let begun = telemetry::begin_attempt(kind, job);
    let outcome = match run(handler, job).await {
        Ok(done) => finish(store, job, done, crash).await,
        Err(failure) => fail(store, job, &handler.rules(), &failure).await,
    };
    telemetry::end_attempt(kind, begun, outcome);
}

async fn run(handler: &dyn Handler, job: &Job) -> Result<Done, Failure> {
    let Rules { attempts_max, attempt_max, .. } = handler.rules();
    if job.attempts > attempts_max {
        let reason = format!("the servers that ran it ended during its {attempts_max} attempts");
        return Err(Failure::Permanent { reason });
    }
    let run = tokio::time::timeout(attempt_max, handler.run(job));
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => Err(Failure::Transient { reason: format!("it took longer than {attempt_max:?}") }),
        Err(_) => Err(Failure::Transient { reason: "its handler panicked".to_owned() }),
    }
}

/// Ends an attempt that failed, and the job with it when it was the last one.
async fn fail(store: &Store, job: &Job, rules: &Rules, failure: &Failure) -> &'static str {
    let Job { id, kind, key, attempts, .. } = job;
    let reason = failure.to_string();
    let is_last = matches!(failure, Failure::Permanent { .. }) || *attempts >= rules.attempts_max;
    if is_last {
        tracing::error!(
            job.id = id,
            job.kind = kind,
            error = reason,
            "parked job {id} ({kind} {key}): {reason}"
        );
        note(job, "parked", store.park_job(job, &reason).await)
    } else {
        tracing::warn!(
            job.id = id,
            job.kind = kind,
            error = reason,
            "attempt {attempts} at job {id} failed: {reason}"
        );
        note(job, "failed", store.fail_job(job, &reason, rules.pause_after(*attempts)).await)
    }
}

async fn finish(store: &Store, job: &Job, done: Done, crash: Option<&CrashPoint>) -> &'static str {
    match done {
        Done::Committed => "done",
        Done::Effect => {
            crash::point(crash, "before_job_end");
            note(job, "done", store.finish_job(job).await)
        }
    }
}

/// What came of an attempt whose end was written, or should have been.
fn note(job: &Job, outcome: &'static str, noted: Result<bool, store::Error>) -> &'static str {
    let id = job.id;
    match noted {
        Ok(true) => outcome,
        Ok(false) => {
            tracing::warn!(job.id = id, "job {id} was taken over by another attempt");
            "lost"
        }
        Err(error) => {
            tracing::warn!(job.id = id, error = chain(&error), "end job {id} failed; its lease runs out");
            "lost"
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
