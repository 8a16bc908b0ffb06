//! From the wish for a layer to the layer: writes the job that builds it, and waits for how that goes.

use api::time::Timestamp;
use sandbox::LayerName;
use store::BuildRecord;
use store::BuildState;
use store::JobRecord;
use store::JobState;
use store::NewJob;

use super::BUILD;
use super::Failure;
use super::Inner;
use super::Order;
use super::Parts;
use super::run::TICK;
use crate::crash;
use crate::limits;

/// Waits until the layer is here or its build has failed. `is_forced` begins another one after a failure of before.
pub(super) async fn obtain(
    inner: &Inner,
    layer: &LayerName,
    order: &Order,
    is_forced: bool,
) -> Result<(), Failure> {
    let Parts { backend, store, clock, home, crash, .. } = &inner.parts;
    let failed = |error: store::Error| Failure::of(&error);
    let key = layer.to_string();
    let mut ended = inner.ended.subscribe();
    let mut has_waited = false;
    loop {
        ended.mark_unchanged();
        if backend.layers().await.map_err(|error| Failure::of(&error))?.contains(layer) {
            return store.use_build(&key, clock.now()).await.map_err(failed);
        }
        let (record, job) =
            (store.build(&key).await.map_err(failed)?, store.job(BUILD, &key).await.map_err(failed)?);
        if (!is_forced || has_waited)
            && let Some(failure) = recent_failure(record, job.as_ref(), clock.now())
        {
            return Err(failure);
        }
        let is_idle = job.is_none_or(|job| match job.state {
            JobState::Running => false,
            // Left to its node, it would wait for one that may be gone.
            JobState::Waiting => job.node.as_ref() != Some(home),
            JobState::Parked(_) => true,
        });
        if is_idle {
            let job = NewJob {
                kind: BUILD.to_owned(),
                key: key.clone(),
                workspace: None,
                node: Some(home.clone()),
                body: serde_json::to_string(order).map_err(|error| Failure::of(&error))?,
                run_at: None,
            };
            if store.begin_build(&job, clock.now()).await.map_err(failed)? {
                crash::point(crash.as_ref(), "job_written");
            }
        }
        has_waited = true;
        // Of the builds of other nodes nobody is told.
        tokio::select! {
            _ = ended.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// A failure that is not worth another try yet.
fn recent_failure(record: Option<BuildRecord>, job: Option<&JobRecord>, now: Timestamp) -> Option<Failure> {
    let is_recent = |at| now.millis_since(at) < limits::BUILD_RETRY_MS;
    if let Some(JobRecord { state: JobState::Parked(at), error, .. }) = job
        && is_recent(*at)
    {
        return Some(Failure { reason: error.clone().unwrap_or_else(|| "it failed".to_owned()) });
    }
    let BuildRecord { state, log, error, finished_at, .. } = record?;
    let is_failed = state == BuildState::Failed && is_recent(finished_at?);
    is_failed.then(|| Failure::with_log(error.as_deref().unwrap_or("it failed"), &log))
}
