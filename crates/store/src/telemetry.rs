//! Metrics of the store: a driver around the driver that measures every call.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::Append;
use crate::Appended;
use crate::backend::Backend;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::error::Error;

const APPEND_SECONDS: &str = "journeyman_store_append_seconds";
const APPEND_ENTRIES: &str = "journeyman_store_append_entries";
const COMMIT_SECONDS: &str = "journeyman_store_commit_seconds";
const READ_SECONDS: &str = "journeyman_store_read_seconds";
const QUEUE: &str = "journeyman_store_queue";
const ERRORS: &str = "journeyman_store_errors_total";

const APPEND: &str = "append to a session";

/// Describes the metrics of this crate to the process's recorder.
pub fn describe() {
    metrics::describe_histogram!(APPEND_SECONDS, "Seconds from an append to its durable commit");
    metrics::describe_histogram!(APPEND_ENTRIES, "Entries of an append");
    metrics::describe_histogram!(COMMIT_SECONDS, "Seconds of any other write, by operation");
    metrics::describe_histogram!(READ_SECONDS, "Seconds of a read, by operation");
    metrics::describe_gauge!(QUEUE, "Writes that wait for their commit now");
    metrics::describe_counter!(ERRORS, "Calls that the database failed, by operation");
    metrics::counter!(ERRORS, "op" => APPEND).increment(0);
}

/// A driver that is measured. Operations are fixed texts of this crate, so that they can be labels.
pub(crate) struct Measured(pub(crate) Arc<dyn Backend>);

#[async_trait]
impl Backend for Measured {
    async fn query(&self, op: &'static str, stmt: Stmt) -> Result<Vec<Row>, Error> {
        let begun = Instant::now();
        let result = self.0.query(op, stmt).await;
        metrics::histogram!(READ_SECONDS, "op" => op).record(begun.elapsed());
        counted(op, result)
    }

    async fn commit(&self, op: &'static str, batch: Batch) -> Result<Outcome, Error> {
        let (begun, _queued) = (Instant::now(), Queued::new());
        let result = self.0.commit(op, batch).await;
        metrics::histogram!(COMMIT_SECONDS, "op" => op).record(begun.elapsed());
        counted(op, result)
    }

    async fn append(&self, append: Append) -> Result<Appended, Error> {
        let (begun, _queued) = (Instant::now(), Queued::new());
        let entries = u32::try_from(append.entries.len()).unwrap_or(u32::MAX);
        let result = self.0.append(append).await;
        metrics::histogram!(APPEND_SECONDS).record(begun.elapsed());
        metrics::histogram!(APPEND_ENTRIES).record(entries);
        counted(APPEND, result)
    }

    fn skip_locked(&self) -> &'static str {
        self.0.skip_locked()
    }
}

/// A write under way; its caller may give up at any time.
struct Queued;

impl Queued {
    fn new() -> Self {
        metrics::gauge!(QUEUE).increment(1);
        Self
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        metrics::gauge!(QUEUE).decrement(1);
    }
}

/// Counts what the database failed; what the store refuses is no error of it.
fn counted<T>(op: &'static str, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Database { .. } | Error::Corrupt { .. } | Error::Stopped { .. } | Error::File { .. }) =
        result
    {
        metrics::counter!(ERRORS, "op" => op).increment(1);
    }
    result
}
