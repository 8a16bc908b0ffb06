//! The writer thread: group commit.

use std::sync::Arc;

use api::sessions::SessionStatus;
use api::time::Clock;
use api::time::Timestamp;
use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OptionalExtension as _;
use rusqlite::ffi;
use rusqlite::params;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::connection;
use crate::Append;
use crate::Appended;
use crate::Patch;
use crate::ThreadChange;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::error::Error;
use crate::fence::Head;
use crate::follow::Hub;
use crate::jobs;
use crate::limits;
use crate::log;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request to the writer.
pub(crate) enum Write {
    Append {
        append: Append,
        reply: Reply<Appended>,
    },
    Commit {
        op: &'static str,
        batch: Batch,
        reply: Reply<Outcome>,
    },
    /// Only in memory: a read, answered after the commit of the writes that it queued with.
    Query {
        op: &'static str,
        stmt: Stmt,
        reply: Reply<Vec<Row>>,
    },
}

/// A request that ran but is not durable yet.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are appends; a box would only cost them an allocation"
)]
enum Ran {
    Append { append: Append, appended: Appended, reply: Reply<Appended> },
    Commit { op: &'static str, rows: Vec<Vec<Row>>, announces_job: bool, reply: Reply<Outcome> },
}

pub(crate) struct Writer {
    connection: Connection,
    clock: Clock,
    hub: Arc<Hub>,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

impl Writer {
    pub(crate) fn new(connection: Connection, clock: Clock, hub: Arc<Hub>) -> Self {
        Self { connection, clock, hub, stopped: None }
    }

    /// Works until the store closes, then finishes what is queued.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes();
            let mut requests = vec![first];
            while requests.len() < limits::WRITES_PER_COMMIT_MAX && bytes < limits::BYTES_PER_COMMIT_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.bytes();
                requests.push(next);
            }
            self.serve(requests);
        }
    }

    fn serve(&mut self, requests: Vec<Write>) {
        let mut queries = Vec::new();
        let mut writes = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Write::Query { op, stmt, reply } => queries.push((op, stmt, reply)),
                Write::Append { .. } | Write::Commit { .. } => writes.push(request),
            }
        }
        if !writes.is_empty() {
            self.write(writes);
        }
        for (op, stmt, reply) in queries {
            reply.send(connection::query(&self.connection, op, &stmt)).ok();
        }
    }

    /// One transaction for all of them.
    fn write(&mut self, requests: Vec<Write>) {
        if let Some(reason) = &self.stopped {
            for request in requests {
                request.stop(reason);
            }
            return;
        }
        if let Err(error) = self.say("BEGIN IMMEDIATE") {
            let reason = self.failed(&error);
            for request in requests {
                request.fail(&reason);
            }
            return;
        }
        let is_alone = requests.len() == 1;
        let mut ran = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        for request in requests.by_ref() {
            match self.request(request, is_alone) {
                Ok(done) => ran.extend(done),
                Err(reason) => {
                    // The transaction is gone, and with it everything that ran in it.
                    self.say("ROLLBACK").ok();
                    for ran in ran {
                        Ran::fail(ran, &reason);
                    }
                    for request in requests {
                        request.fail(&reason);
                    }
                    return;
                }
            }
        }
        let end = if ran.is_empty() { "ROLLBACK" } else { "COMMIT" };
        match self.say(end) {
            Ok(()) => {
                for ran in ran {
                    ran.finish(&self.hub);
                }
            }
            Err(error) => {
                let reason = self.failed(&error);
                if !self.connection.is_autocommit() {
                    self.say("ROLLBACK").ok();
                }
                for ran in ran {
                    ran.fail(&reason);
                }
            }
        }
    }

    /// Runs one request in a savepoint and answers it if it is refused. An error means that the transaction is lost.
    fn request(&mut self, request: Write, is_alone: bool) -> Result<Option<Ran>, String> {
        let say = |this: &mut Self, sql| if is_alone { Ok(()) } else { this.say(sql) };
        if let Err(error) = say(self, "SAVEPOINT request") {
            let reason = self.failed(&error);
            request.fail(&reason);
            return Err(reason);
        }
        let (done, failed) = match request {
            Write::Append { append, reply } => match self.append(&append) {
                Ok(appended) => (Some(Ran::Append { append, appended, reply }), None),
                Err(Refusal::Refused(error)) => {
                    reply.send(Err(error)).ok();
                    (None, None)
                }
                Err(Refusal::Failed(error)) => {
                    let reason = self.failed(&error);
                    reply.send(Err(Error::database("append to a session", reason.clone()))).ok();
                    (None, Some(reason))
                }
            },
            Write::Commit { op, batch, reply } => match self.batch(&batch) {
                Ok(Outcome::Done(rows)) => {
                    let announces_job = batch.iter().any(|stmt| stmt.announces_job);
                    (Some(Ran::Commit { op, rows, announces_job, reply }), None)
                }
                Ok(outcome) => {
                    reply.send(Ok(outcome)).ok();
                    (None, None)
                }
                Err(error) => {
                    let reason = self.failed(&error);
                    reply.send(Err(Error::database(op, reason.clone()))).ok();
                    (None, Some(reason))
                }
            },
            Write::Query { .. } => (None, None),
        };
        if let Some(reason) = failed
            && (self.stopped.is_some() || self.connection.is_autocommit())
        {
            return Err(reason);
        }
        let end = if done.is_some() { "RELEASE request" } else { "ROLLBACK TO request" };
        match say(self, end) {
            Ok(()) => Ok(done),
            Err(error) => {
                let reason = self.failed(&error);
                if let Some(done) = done {
                    done.fail(&reason);
                }
                Err(reason)
            }
        }
    }

    fn batch(&self, batch: &Batch) -> rusqlite::Result<Outcome> {
        let mut results = Vec::with_capacity(batch.len());
        for stmt in batch {
            match connection::run(&self.connection, stmt) {
                Ok((_, touched)) if stmt.rows.is_some_and(|rows| rows != touched) => {
                    return Ok(Outcome::Refused);
                }
                Ok((rows, _)) => results.push(rows),
                Err(error) => return constraint(&error).ok_or(error),
            }
        }
        Ok(Outcome::Done(results))
    }

    fn append(&self, append: &Append) -> Result<Appended, Refusal> {
        let Append { session, fence: _, entries, patch, jobs, expected_head: _ } = append;
        let now = self.clock.now();
        let Some(mut head) = self.head(*session)? else {
            return Err(Refusal::Refused(Error::not_found("session", session)));
        };
        let appended = head.admit(append, now.0).map_err(Refusal::Refused)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO entry (session, seq, position, id, thread, kind, public, private, created_at, processed_at,
             processes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )?;
        for (seq, entry) in (appended.first..).zip(entries) {
            let inserted = insert.execute(params![
                session,
                seq,
                log::position(entry, seq),
                entry.id.as_str(),
                entry.thread.as_str(),
                entry.kind.as_str(),
                entry.public.as_deref().map(RawValue::get),
                entry.private.as_deref().map(RawValue::get),
                entry.created_at.0,
                entry.processed_at.map(|at| at.0),
                entry.processes.as_ref().map(api::ids::Id::as_str),
            ]);
            if let Err(error) = inserted {
                let is_duplicate = matches!(constraint(&error), Some(Outcome::Duplicate));
                return Err(if is_duplicate {
                    Refusal::Refused(Error::exists("entry", &entry.id))
                } else {
                    error.into()
                });
            }
            if let Some(processed) = &entry.processes {
                let mut process = self.connection.prepare_cached(
                    "UPDATE entry SET processed_at = $1, position = $2
                     WHERE id = $3 AND session = $4 AND processed_at IS NULL",
                )?;
                process.execute(params![entry.created_at.0, seq, processed.as_str(), session])?;
            }
        }
        self.update_row(*session, &head, patch, now)?;
        for change in &patch.threads {
            self.change_thread(*session, change, now)?;
        }
        if let Some(agent) = &patch.agent {
            let mut update =
                self.connection.prepare_cached("UPDATE session_body SET agent = $1 WHERE session = $2")?;
            update.execute(params![agent, session])?;
        }
        for job in jobs {
            connection::run(&self.connection, &jobs::ensure(job))?;
        }
        Ok(appended)
    }

    fn update_row(&self, session: i64, head: &Head, patch: &Patch, now: Timestamp) -> rusqlite::Result<()> {
        let mut update = self.connection.prepare_cached(
            "UPDATE session SET head = $1, epoch = $2, holder = $3, lease_until = $4, runnable = $5, updated_at = $6,
             status = $7, progress = COALESCE($8, progress), title = CASE WHEN $9 THEN $10 ELSE title END,
             metadata = COALESCE($11, metadata), archived_at = COALESCE($12, archived_at), waiting = $13
             WHERE key = $14",
        )?;
        update
            .execute(params![
                head.head,
                head.epoch,
                head.holder,
                head.lease_until,
                head.runnable,
                now.0,
                head.status.as_str(),
                patch.progress,
                patch.title.is_some(),
                patch.title.as_ref().and_then(Option::as_ref),
                patch.metadata,
                patch.archived_at.map(|at| at.0),
                api::entry::raw(&head.waiting).get(),
                session,
            ])
            .map(drop)
    }

    fn change_thread(&self, session: i64, change: &ThreadChange, now: Timestamp) -> rusqlite::Result<()> {
        let ThreadChange { id, agent, status, progress, archived_at } = change;
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO thread (session, id, agent, status, progress, created_at, updated_at, archived_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7) ON CONFLICT (session, id) DO UPDATE SET
             agent = COALESCE(excluded.agent, agent), status = excluded.status, progress = excluded.progress,
             updated_at = excluded.updated_at, archived_at = COALESCE(excluded.archived_at, archived_at)",
        )?;
        let archived_at = archived_at.map(|at| at.0);
        upsert
            .execute(params![session, id.as_str(), agent, status.as_str(), progress, now.0, archived_at])
            .map(drop)
    }

    fn head(&self, session: i64) -> rusqlite::Result<Option<Head>> {
        let mut find = self.connection.prepare_cached(
            "SELECT id, head, epoch, holder, lease_until, status, archived_at IS NOT NULL, runnable, waiting
             FROM session WHERE key = $1",
        )?;
        let head = find.query_row([session], |row| {
            let id = row.get_ref(0)?.as_str()?;
            Ok(Head {
                id: api::ids::Id::parse(id).ok_or(rusqlite::Error::InvalidQuery)?,
                head: row.get(1)?,
                epoch: row.get(2)?,
                holder: row.get(3)?,
                lease_until: row.get(4)?,
                status: SessionStatus::parse(row.get_ref(5)?.as_str()?)
                    .ok_or(rusqlite::Error::InvalidQuery)?,
                is_archived: row.get(6)?,
                runnable: row.get(7)?,
                waiting: serde_json::from_str(row.get_ref(8)?.as_str()?)
                    .map_err(|_| rusqlite::Error::InvalidQuery)?,
            })
        });
        head.optional()
    }

    fn say(&self, sql: &'static str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Words for a failure of the database. Stops the writer when the disk failed.
    fn failed(&mut self, error: &rusqlite::Error) -> String {
        let reason = error.to_string();
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)) {
            tracing::error!("the store stops writing: {reason}");
            self.stopped = Some(reason.clone());
        }
        reason
    }
}

/// Why an append did not run.
enum Refusal {
    /// It must not.
    Refused(Error),
    /// The database failed.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

fn constraint(error: &rusqlite::Error) -> Option<Outcome> {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return None };
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => Some(Outcome::Duplicate),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Some(Outcome::Dangling),
        _ => None,
    }
}

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { append, .. } => append.bytes(),
            Self::Commit { .. } | Self::Query { .. } => 0,
        }
    }

    // Whoever dropped the answer's other end no longer waits for it.

    fn fail(self, reason: &str) {
        self.answer(|op| Error::database(op, reason.to_owned()));
    }

    fn stop(self, reason: &str) {
        self.answer(|op| Error::Stopped { op, reason: reason.to_owned() });
    }

    fn answer(self, error: impl FnOnce(&'static str) -> Error) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error("append to a session")))),
            Self::Commit { op, reply, .. } => drop(reply.send(Err(error(op)))),
            Self::Query { op, reply, .. } => drop(reply.send(Err(error(op)))),
        }
    }
}

impl Ran {
    fn fail(self, reason: &str) {
        match self {
            Self::Append { reply, .. } => {
                drop(reply.send(Err(Error::database("append to a session", reason.to_owned()))));
            }
            Self::Commit { op, reply, .. } => drop(reply.send(Err(Error::database(op, reason.to_owned())))),
        }
    }

    fn finish(self, hub: &Hub) {
        match self {
            Self::Append { append, appended, reply } => {
                hub.publish(append.session, appended.first, append.entries);
                if !append.jobs.is_empty() {
                    hub.announce_job();
                }
                reply.send(Ok(appended)).ok();
            }
            Self::Commit { op: _, rows, announces_job, reply } => {
                if announces_job {
                    hub.announce_job();
                }
                reply.send(Ok(Outcome::Done(rows))).ok();
            }
        }
    }
}
