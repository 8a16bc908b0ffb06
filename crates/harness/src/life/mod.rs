//! The life of a sandbox: made by the first call, frozen when its session rests, ended when it idles, checkpointed to the
//! blob store, restored on any node by the next call, and gone when its time is over or its session is.
//!
//! What is true of a sandbox is in its row: the node that has the newest files, and the last checkpoint. Files are only
//! ever removed, and a checkpoint only ever replaced, after the row says that they are not the newest any more. So a crash
//! at any point leaves either the old or the new state, and at most something that nobody names, which the sweep finds.
//!
//! Of a session whose files are being packed, a call does not wait: the packing is given up, which costs nothing but the
//! work done so far, while waiting would take as long as the largest sandbox and the slowest blob store do. A call that
//! needs a restore waits for it; it has nothing to run in before.

mod checkpoint;
mod failure;
mod handover;
mod idle;
mod plan;
mod prepare;
mod restore;
mod seat;
mod status;
mod strangers;
mod sweep;
pub(crate) mod telemetry;

use std::sync::Arc;

use store::Blobs;
use tokio::time::MissedTickBehavior;

use crate::Inner;
use crate::error::chain;
use crate::limits;

pub(crate) use failure::Failure;
pub(crate) use prepare::Here;
pub(crate) use seat::Held;
pub(crate) use seat::Seat;
pub(crate) use seat::Seats;
pub use status::SandboxState;
pub use status::SandboxStatus;
pub(crate) use strangers::Strangers;
pub use sweep::layers_in_use;

/// How long sandboxes and their files live, and where checkpoints go.
#[derive(Clone, Debug)]
pub struct Life {
    /// Name of this data folder among the nodes that share the store. It outlasts starts of the server.
    pub node: String,
    /// Where checkpoints go. Without it there are none, and files stay on this node until their time is over.
    pub blobs: Option<Blobs>,
    /// How long a sandbox at rest may idle before its processes are stopped, in milliseconds.
    pub freeze_after_ms: i64,
    /// How long files and checkpoints are kept, counted from the first call, in milliseconds. Use does not prolong it.
    pub keep_ms: i64,
    /// How long files stay on this node after their checkpoint, in milliseconds.
    pub files_kept_ms: i64,
}

impl Life {
    /// The usual times, without checkpoints.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            blobs: None,
            freeze_after_ms: 60_000,
            keep_ms: 30 * 86_400_000,
            files_kept_ms: 24 * 3_600_000,
        }
    }
}

/// Starts what tends the sandboxes of this node, until the tasks are shut down.
pub(crate) fn start(inner: &Arc<Inner>) {
    drop(inner.tasks.spawn("tend sandboxes", tend(Arc::clone(inner))));
    drop(inner.tasks.spawn("checkpoint sandboxes", checkpoint(Arc::clone(inner))));
    drop(inner.tasks.spawn("sweep sandboxes", sweep(Arc::clone(inner))));
}

/// One round of everything.
pub(crate) async fn tidy(inner: &Arc<Inner>) {
    let hands = &inner.hands;
    let is_at_rest = |key| inner.is_at_rest(key);
    let steps = async {
        hands.rest_idle(&is_at_rest).await?;
        hands.checkpoint_ended(&is_at_rest).await?;
        hands.sweep(&is_at_rest).await?;
        hands.sweep_blobs().await?;
        hands.sweep_layers().await
    };
    if let Err(error) = steps.await {
        tracing::warn!(error = chain(&error), "tidy sandboxes failed; trying again");
    }
}

/// Hands over what other nodes wait for, freezes and ends what idles.
async fn tend(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(limits::SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0u32;
    loop {
        ticks.tick().await;
        handover::answer(&inner).await;
        count = count.wrapping_add(1);
        if !count.is_multiple_of(limits::SWEEPS_PER_TIDYING) {
            continue;
        }
        if let Err(error) = inner.hands.rest_idle(&|key| inner.is_at_rest(key)).await {
            tracing::warn!(error = %error, "end idle sandboxes failed; trying again");
        }
    }
}

/// Checkpoints what has ended since its last checkpoint.
async fn checkpoint(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(limits::CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.hands.ended.notified() => {}
        }
        if let Err(error) = inner.hands.checkpoint_ended(&|key| inner.is_at_rest(key)).await {
            tracing::warn!(error = %error, "look for sandboxes to checkpoint failed; trying again");
        }
    }
}

async fn sweep(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(limits::SANDBOX_SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps = 0u32;
    loop {
        ticks.tick().await;
        if let Err(error) = inner.hands.sweep(&|key| inner.is_at_rest(key)).await {
            tracing::warn!(error = %error, "sweep sandboxes failed; trying again");
        }
        if let Err(error) = inner.hands.sweep_layers().await {
            tracing::warn!(error = %error, "sweep layers failed; trying again");
        }
        if sweeps.is_multiple_of(limits::SWEEPS_PER_BLOB_SWEEP)
            && let Err(error) = inner.hands.sweep_blobs().await
        {
            tracing::warn!(error = chain(&error), "sweep checkpoints failed; trying again");
        }
        sweeps = sweeps.wrapping_add(1);
    }
}
