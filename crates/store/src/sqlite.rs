//! The SQLite driver: one writer thread with group commit, and readers on threads of their own.
//!
//! Whatever queued while the last commit ran goes into the next one, each request in a savepoint, so that a refused
//! request does not take others with it. The commit syncs the log (`synchronous=FULL`); only then are followers told
//! and callers answered, in order. When the disk fails under a write, the writer refuses everything from then on: what a
//! failed sync left on the disk is unknown, and the next start finds out by recovery.

mod connection;
mod writer;

use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;

use api::time::Clock;
use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

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

use writer::Write;
use writer::Writer;

/// A database in one file or in memory.
pub(crate) struct Sqlite {
    /// Taken when the store closes; the threads end with their queues.
    writes: Option<mpsc::Sender<Write>>,
    /// None in memory, where the writer's connection is the only one.
    reads: Option<mpsc::Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
    hub: Arc<Hub>,
    /// Held as long as the store is open; the system frees it when the process dies.
    _lock: Option<File>,
}

/// A question to a reader.
struct Read {
    op: &'static str,
    stmt: Stmt,
    reply: oneshot::Sender<Result<Vec<Row>, Error>>,
}

impl Sqlite {
    /// Opens the file, or a database in memory, and brings its schema up to date.
    pub(crate) async fn open(path: Option<PathBuf>, clock: Clock, hub: Arc<Hub>) -> Result<Self, Error> {
        let opened =
            tokio::task::spawn_blocking(move || Self::open_blocking(path.as_deref(), &clock, hub)).await;
        opened.map_err(|error| Error::database("open the database", error))?
    }

    fn open_blocking(path: Option<&Path>, clock: &Clock, hub: Arc<Hub>) -> Result<Self, Error> {
        let lock = path.map(lock).transpose()?;
        let mut connection = connection::open_writer(path, clock)?;
        connection::migrate(&mut connection, clock)?;
        // The lock proves that whoever held a lease is dead.
        connection
            .execute("UPDATE session SET holder = NULL WHERE holder IS NOT NULL", [])
            .and_then(|_| connection.execute("UPDATE job SET holder = NULL WHERE holder IS NOT NULL", []))
            .map_err(|error| Error::database("free the leases of the last server", error))?;
        let mut threads = Vec::new();
        let mut reads = None;
        if let Some(path) = path {
            let (sender, receiver) = mpsc::channel(limits::READS_QUEUED_MAX);
            let receiver = Arc::new(Mutex::new(receiver));
            for number in 0..limits::READERS {
                let (connection, receiver) = (connection::open_reader(path, clock)?, Arc::clone(&receiver));
                threads.push(start(&format!("store-read-{number}"), move || read(&connection, &receiver))?);
            }
            reads = Some(sender);
        }
        let (writes, queue) = mpsc::channel(limits::WRITES_QUEUED_MAX);
        let writer = Writer::new(connection, clock.clone(), Arc::clone(&hub));
        threads.push(start("store-write", move || writer.run(queue))?);
        Ok(Self { writes: Some(writes), reads, threads, hub, _lock: lock })
    }

    async fn write<T>(
        &self,
        op: &'static str,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Write,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::Stopped { op, reason: "its writer has ended".to_owned() };
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(make(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn query(&self, op: &'static str, stmt: Stmt) -> Result<Vec<Row>, Error> {
        let Some(reads) = &self.reads else {
            return self.write(op, |reply| Write::Query { op, stmt, reply }).await;
        };
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::Stopped { op, reason: "its readers have ended".to_owned() };
        reads.send(Read { op, stmt, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn commit(&self, op: &'static str, batch: Batch) -> Result<Outcome, Error> {
        self.write(op, |reply| Write::Commit { op, batch, reply }).await
    }

    async fn append(&self, append: Append) -> Result<Appended, Error> {
        self.write("append to a session", |reply| Write::Append { append, reply }).await
    }

    fn skip_locked(&self) -> &'static str {
        // There is one writer.
        ""
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.hub.close();
        self.writes = None;
        self.reads = None;
        // The threads finish what is queued; the file is closed and its lock free when this returns.
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

/// Takes the lock that proves that no other server uses the file.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    let fail = |source| Error::File { op: "lock", path: lock.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned(), lock }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| Error::database(format!("start the thread {name}"), error))
}

/// A reader: takes one question after the other until the store closes.
fn read(connection: &Connection, queue: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        // The lock is held while waiting: readers queue on it, and whoever has it takes the next question.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Read { op, stmt, reply }) = next else { return };
        if !reply.is_closed() {
            // Nobody waits for the answer any more when this fails.
            reply.send(connection::query(connection, op, &stmt)).ok();
        }
    }
}
