//! Background tasks: named, tracked, cancelled together, awaited at shutdown.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::SHUTDOWN_GRACE;

/// A set of tasks with one end.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends or the set is shut down. A panic is logged and ends this task alone; the handle
    /// answers `None` then, as it does after a cancellation.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            let guarded = AssertUnwindSafe(future).catch_unwind();
            match token.run_until_cancelled(guarded).await {
                Some(Ok(output)) => Some(output),
                Some(Err(_)) => {
                    tracing::error!(task = name, "task {name} panicked");
                    None
                }
                None => None,
            }
        })
    }

    /// Cancels every task and waits for them, up to a bound.
    pub async fn shutdown(&self) {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!("{} tasks did not stop in time", self.tracker.len());
        }
    }
}
