//! Tasks that live exactly as long as what they work for.

use std::future::Future;

use tokio::task::JoinHandle;

/// A running task; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts a task that belongs to the holder of the answer.
    #[expect(clippy::disallowed_methods, reason = "the task is owned, and ends with its owner")]
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
