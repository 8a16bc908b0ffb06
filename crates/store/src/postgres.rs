//! The PostgreSQL driver: appends through one writer task, everything else through a pool.
//!
//! Several nodes share the database. What they append reaches followers here by a notification, which is only a hint,
//! and by a look at the heads of all followed sessions every second; entries are always read from the table.

mod connection;
mod doorbell;
mod failure;
mod transaction;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicI32;

use api::time::Clock;
use async_trait::async_trait;
use deadpool_postgres::Pool;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::Append;
use crate::Appended;
use crate::backend::Backend;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::error::Error;
use crate::follow::Hub;
use crate::limits;

use connection::Connector;
use failure::Failure;
use writer::Writer;

/// A database on a server.
pub(crate) struct Postgres {
    pool: Pool,
    /// The writer ends when this is dropped.
    writes: mpsc::Sender<Request>,
    hub: Arc<Hub>,
    /// Ends the tasks that listen and poll.
    _tasks: DropGuard,
}

/// An append on its way to the writer.
struct Request {
    append: Append,
    reply: oneshot::Sender<Result<Appended, Error>>,
}

impl Postgres {
    /// Connects, and brings the schema up to date.
    pub(crate) async fn open(address: &str, clock: Clock, hub: Arc<Hub>) -> Result<Self, Error> {
        let tasks = TaskTracker::new();
        let connector = Connector::new(address, tasks.clone())?;
        connection::migrate(&connector, &clock).await?;
        let pool = connector.pool()?;
        let stop = CancellationToken::new();
        let writer_process = Arc::new(AtomicI32::new(0));
        let (writes, queue) = mpsc::channel(limits::WRITES_QUEUED_MAX);
        let writer = Writer::new(
            connector.clone(),
            pool.clone(),
            clock,
            Arc::clone(&hub),
            Arc::clone(&writer_process),
        );
        tasks.spawn(writer.run(queue));
        let doorbell =
            doorbell::Doorbell { connector, pool: pool.clone(), hub: Arc::clone(&hub), writer_process };
        tasks.spawn(stop.clone().run_until_cancelled_owned(doorbell.clone().listen()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(doorbell.poll()));
        Ok(Self { pool, writes, hub, _tasks: stop.drop_guard() })
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn query(&self, op: &'static str, stmt: Stmt) -> Result<Vec<Row>, Error> {
        connection::query(&self.pool, op, &stmt).await
    }

    async fn commit(&self, op: &'static str, mut batch: Batch) -> Result<Outcome, Error> {
        let announces_job = batch.iter().any(|stmt| stmt.announces_job);
        if announces_job {
            batch.push(Stmt::new(doorbell::ANNOUNCE_JOB, []));
        }
        let mut attempt = 1;
        loop {
            match connection::commit(&self.pool, &batch).await {
                Ok(outcome) => {
                    if announces_job {
                        self.hub.announce_job();
                    }
                    return Ok(outcome);
                }
                Err(Failure::Duplicate) => return Ok(Outcome::Duplicate),
                Err(Failure::Dangling) => return Ok(Outcome::Dangling),
                Err(failure) if failure.is_worth_another_attempt() && attempt < limits::ATTEMPTS_MAX => {
                    failure.pause(attempt).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.into_error(op)),
            }
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, Error> {
        let op = "append to a session";
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::Stopped { op, reason: "its writer has ended".to_owned() };
        self.writes.send(Request { append, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    fn skip_locked(&self) -> &'static str {
        "FOR UPDATE SKIP LOCKED"
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.hub.close();
        self.pool.close();
    }
}
