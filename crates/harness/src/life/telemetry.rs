//! Metrics of sandboxes: how they are made, what becomes of them, their checkpoints, and the layers that they stand on.

use std::time::Duration;

use tokio::time::Instant;

const STARTS: &str = "journeyman_sandbox_start_seconds";
const CALLS: &str = "journeyman_sandbox_uses_total";
const SANDBOXES: &str = "journeyman_sandboxes";
const ENDED: &str = "journeyman_sandbox_ended_total";
const CHECKPOINT_SECONDS: &str = "journeyman_checkpoint_seconds";
const CHECKPOINT_BYTES: &str = "journeyman_checkpoint_bytes";
const RESTORE_SECONDS: &str = "journeyman_restore_seconds";
const BUILD_SECONDS: &str = "journeyman_layer_build_seconds";

/// Describes these metrics to the process's recorder.
pub(crate) fn describe() {
    metrics::describe_histogram!(
        STARTS,
        "Seconds until a sandbox that was made could take calls, a restore and a build before it included"
    );
    metrics::describe_counter!(CALLS, "Uses of a sandbox: it ran already, it was made, or there is none");
    metrics::describe_gauge!(SANDBOXES, "Sandboxes of sessions on this node, as of the last look");
    metrics::describe_counter!(ENDED, "Sandboxes that this process ended");
    metrics::describe_histogram!(CHECKPOINT_SECONDS, "Seconds of a checkpoint that was stored");
    metrics::describe_histogram!(CHECKPOINT_BYTES, "Bytes of a checkpoint that was stored, packed");
    metrics::describe_histogram!(RESTORE_SECONDS, "Seconds of a restore from a checkpoint");
    metrics::describe_histogram!(BUILD_SECONDS, "Seconds of a build of packages");
    show_sandboxes(0, 0);
    for outcome in ["warm", "made", "failed"] {
        metrics::counter!(CALLS, "outcome" => outcome).increment(0);
    }
    for reason in ["idle", "evicted"] {
        metrics::counter!(ENDED, "reason" => reason).increment(0);
    }
    for outcome in ["built", "failed"] {
        drop(metrics::histogram!(BUILD_SECONDS, "outcome" => outcome));
    }
    for name in [STARTS, CHECKPOINT_SECONDS, CHECKPOINT_BYTES, RESTORE_SECONDS] {
        drop(metrics::histogram!(name));
    }
}

pub(crate) fn count_warm() {
    metrics::counter!(CALLS, "outcome" => "warm").increment(1);
}

pub(crate) fn count_start(begun: Instant, is_made: bool) {
    metrics::counter!(CALLS, "outcome" => if is_made { "made" } else { "failed" }).increment(1);
    if is_made {
        metrics::histogram!(STARTS).record(begun.elapsed());
    }
}

pub(crate) fn count_ended(is_evicted: bool) {
    metrics::counter!(ENDED, "reason" => if is_evicted { "evicted" } else { "idle" }).increment(1);
}

pub(crate) fn show_sandboxes(running: usize, frozen: usize) {
    for (state, count) in [("running", running), ("frozen", frozen)] {
        metrics::gauge!(SANDBOXES, "state" => state).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

pub(crate) fn count_checkpoint(took: Duration, bytes: u64) {
    metrics::histogram!(CHECKPOINT_SECONDS).record(took);
    metrics::histogram!(CHECKPOINT_BYTES)
        .record(f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0);
}

pub(crate) fn count_restore(took: Duration) {
    metrics::histogram!(RESTORE_SECONDS).record(took);
}

pub(crate) fn count_build(took: Duration, is_built: bool) {
    metrics::histogram!(BUILD_SECONDS, "outcome" => if is_built { "built" } else { "failed" }).record(took);
}
