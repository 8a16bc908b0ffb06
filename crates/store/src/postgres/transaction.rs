//! One transaction of appends: lock the rows of their sessions, decide, write everything with few statements.
//!
//! Rows are locked in the order of their keys, so that two nodes never wait for each other. After the decision the
//! writes, the notification and the commit are sent at once.

use std::collections::BTreeMap;
use std::collections::HashSet;

use api::entry::NewEntry;
use api::ids::Id;
use api::time::Timestamp;
use futures_util::future::join;
use serde_json::value::RawValue;
use tokio_postgres::Client;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::connection;
use super::doorbell;
use super::failure::Failure;
use crate::Append;
use crate::Appended;
use crate::NewJob;
use crate::Patch;
use crate::error::Error;
use crate::fence::Head;
use crate::jobs;
use crate::log;
use crate::threads;
use crate::threads::ThreadChange;

const LOCK: &str = "SELECT key, id, head, epoch, holder, lease_until, status, archived_at, runnable,
    waiting, lease_now() FROM session WHERE key = ANY ($1) ORDER BY key FOR NO KEY UPDATE";
const INSERT: &str = "INSERT INTO entry (session, seq, position, id, thread, kind, public, private, created_at,
    processed_at, processes) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],
    $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::text[])";
const PROCESS: &str = "UPDATE entry SET processed_at = done.at, position = done.seq
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS done (session, id, seq, at)
    WHERE entry.id = done.id AND entry.session = done.session AND entry.processed_at IS NULL";
const UPDATE: &str = "UPDATE session SET head = new.head, epoch = new.epoch, holder = new.holder,
    lease_until = new.lease_until, runnable = new.runnable, status = new.status, updated_at = $1,
    progress = COALESCE(new.progress, session.progress),
    title = CASE WHEN new.is_titled THEN new.title ELSE session.title END,
    metadata = COALESCE(new.metadata, session.metadata),
    archived_at = COALESCE(new.archived_at, session.archived_at), waiting = new.waiting
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],
    $9::text[], $10::bool[], $11::text[], $12::text[], $13::bigint[], $14::text[]) AS new (key, head, epoch, holder, lease_until,
    runnable, status, progress, is_titled, title, metadata, archived_at, waiting) WHERE session.key = new.key";
const UPDATE_BODY: &str = "UPDATE session_body SET agent = new.agent
    FROM unnest($1::bigint[], $2::text[]) AS new (session, agent) WHERE session_body.session = new.session";
const UPSERT_THREAD: &str = "INSERT INTO thread (session, id, agent, status, progress, created_at, updated_at, archived_at)
    SELECT new.session, new.id, new.agent, new.status, new.progress, $1, $1, new.archived_at
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
    AS new (session, id, agent, status, progress, archived_at)
    ON CONFLICT (session, id) DO UPDATE SET agent = COALESCE(excluded.agent, thread.agent), status = excluded.status,
    progress = excluded.progress, updated_at = excluded.updated_at,
    archived_at = COALESCE(excluded.archived_at, thread.archived_at)";
/// Ends where [`jobs::UNLESS_OPEN`] goes on.
const ENSURE_JOBS: &str =
    "INSERT INTO job (kind, key, workspace, node, body, run_at, created_at, attempts, epoch,
    lease_until) SELECT kind, key, workspace, node, body, COALESCE(run_at, lease_now()), lease_now(), 0, 0, 0
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
    AS new (kind, key, workspace, node, body, run_at)";
const NOTIFY: &str = "SELECT pg_notify($1, $2)";

/// A connection with the statements of appends prepared.
pub(crate) struct Link {
    client: Client,
    lock: Statement,
    insert: Statement,
    process: Statement,
    update: Statement,
    update_body: Statement,
    upsert_thread: Statement,
    ensure_jobs: Statement,
    notify: Statement,
}

/// A session while its appends are decided.
struct Work {
    head: Head,
    patch: Patch,
    now: i64,
    /// Whether an append to it was admitted.
    is_touched: bool,
    /// Whether entries were appended.
    is_longer: bool,
}

impl Link {
    pub(crate) async fn new(client: Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            lock: client.prepare(LOCK).await?,
            insert: client.prepare(INSERT).await?,
            process: client.prepare(PROCESS).await?,
            update: client.prepare(UPDATE).await?,
            update_body: client.prepare(UPDATE_BODY).await?,
            upsert_thread: client.prepare(UPSERT_THREAD).await?,
            ensure_jobs: client.prepare(&format!("{ENSURE_JOBS} {}", jobs::UNLESS_OPEN)).await?,
            notify: client.prepare(NOTIFY).await?,
            client,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Process of this connection on the server.
    pub(crate) async fn process(&self) -> Result<i32, tokio_postgres::Error> {
        Ok(self.client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0))
    }

    /// Appends all that the fence admits, in one durable transaction. What it refuses does not stop the others.
    pub(crate) async fn append(
        &self,
        appends: &[&Append],
        now: Timestamp,
    ) -> Result<Vec<Result<Appended, Error>>, Failure> {
        let mut work = self.lock(appends).await?;
        let decide = |append: &&Append| match work.get_mut(&append.session) {
            Some(work) => work.admit(append),
            None => Err(Error::not_found("session", append.session)),
        };
        let results: Vec<_> = appends.iter().map(decide).collect();
        work.retain(|_, work| work.is_touched);
        if work.is_empty() {
            self.client.batch_execute("ROLLBACK").await.map_err(Failure::before_commit)?;
            return Ok(results);
        }
        let admitted = appends
            .iter()
            .zip(&results)
            .filter_map(|(append, result)| Some((*append, result.as_ref().ok()?)));
        let jobs = Jobs::of(admitted.clone().flat_map(|(append, _)| &append.jobs));
        self.write(&Entries::of(admitted), &jobs, &work, now).await?;
        Ok(results)
    }

    async fn lock(&self, appends: &[&Append]) -> Result<BTreeMap<i64, Work>, Failure> {
        let keys: Vec<i64> = appends.iter().map(|append| append.session).collect();
        let args: [&(dyn ToSql + Sync); 1] = [&keys];
        let (begun, rows) =
            join(self.client.batch_execute("BEGIN"), self.client.query(&self.lock, &args)).await;
        let rows = begun.and(rows).map_err(Failure::before_commit);
        let locked = rows.and_then(|rows| rows.iter().map(Work::read).collect());
        if locked.is_err() {
            // A connection that is broken needs none; the next attempt notices.
            self.client.batch_execute("ROLLBACK").await.ok();
        }
        locked
    }

    async fn write(
        &self,
        entries: &Entries<'_>,
        jobs: &Jobs<'_>,
        work: &BTreeMap<i64, Work>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let sessions = Sessions::of(work);
        let bodies: (Vec<i64>, Vec<&str>) =
            work.iter().filter_map(|(key, work)| Some((*key, work.patch.agent.as_deref()?))).unzip();
        let longer = work.iter().filter(|(_, work)| work.is_longer).map(|(key, work)| (*key, work.head.head));
        let payload = doorbell::write_payload(longer, !jobs.kind.is_empty());
        let notify: [&(dyn ToSql + Sync); 2] = [&doorbell::CHANNEL, &payload];
        let bodies_args: [&(dyn ToSql + Sync); 2] = [&bodies.0, &bodies.1];
        let (inserts, processes, updates) =
            (entries.inserts(), entries.processes(), sessions.updates(&now.0));
        let threads = Threads::of(work);
        let thread_args = threads.upserts(&now.0);
        let ensures = jobs.ensures();

        let mut steps: Vec<(&Statement, &[&(dyn ToSql + Sync)])> = Vec::new();
        if !entries.seq.is_empty() {
            steps.push((&self.insert, &inserts));
        }
        if !jobs.kind.is_empty() {
            steps.push((&self.ensure_jobs, &ensures));
        }
        if !payload.is_empty() {
            steps.push((&self.notify, &notify));
        }
        if !entries.done_seq.is_empty() {
            steps.push((&self.process, &processes));
        }
        steps.push((&self.update, &updates));
        if !bodies.0.is_empty() {
            steps.push((&self.update_body, &bodies_args));
        }
        if !threads.id.is_empty() {
            steps.push((&self.upsert_thread, &thread_args));
        }
        // The commit goes out with them: if one of them fails, the server makes it a rollback.
        let run = futures_util::future::join_all(
            steps.into_iter().map(|(stmt, args)| self.client.execute(stmt, args)),
        );
        let (steps, committed) = join(run, self.client.batch_execute("COMMIT")).await;
        for step in steps {
            step.map_err(Failure::with_commit)?;
        }
        committed.map_err(Failure::with_commit)
    }
}

impl Work {
    fn read(row: &tokio_postgres::Row) -> Result<(i64, Self), Failure> {
        let mut row = connection::read(row)?;
        let mut read = || {
            let key = row.int("key of a session")?;
            let head = Head {
                id: row.id("session id")?,
                head: row.int("head of a session")?,
                epoch: row.int("epoch of a session")?,
                holder: row.optional_text("holder of a session")?,
                lease_until: row.int("lease of a session")?,
                status: row.status("status of a session")?,
                is_archived: row.optional_int("archiving of a session")?.is_some(),
                runnable: row.int("runnable of a session")? != 0,
                waiting: row.json("waiting calls of a session")?,
            };
            let now = row.int("clock of leases")?;
            Ok((key, Self { head, patch: Patch::default(), now, is_touched: false, is_longer: false }))
        };
        read().map_err(|error: Error| Failure::Refused(error.into()))
    }

    fn admit(&mut self, append: &Append) -> Result<Appended, Error> {
        let appended = self.head.admit(append, self.now)?;
        self.is_touched = true;
        self.is_longer |= !append.entries.is_empty();
        // Status, waiting calls, lease and runnable are in the head already.
        let Patch {
            status: _,
            progress,
            threads,
            waiting: _,
            title,
            metadata,
            agent,
            archived_at,
            runnable: _,
            release: _,
        } = &append.patch;
        let patch = &mut self.patch;
        for change in threads {
            threads::merge(&mut patch.threads, change);
        }
        let later = |old: &mut Option<String>, new: &Option<String>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        later(&mut patch.progress, progress);
        later(&mut patch.metadata, metadata);
        later(&mut patch.agent, agent);
        if title.is_some() {
            patch.title.clone_from(title);
        }
        patch.archived_at = archived_at.or(patch.archived_at);
        Ok(appended)
    }
}

/// Entries as columns.
#[derive(Default)]
struct Entries<'a> {
    session: Vec<i64>,
    seq: Vec<i64>,
    position: Vec<i64>,
    id: Vec<&'a str>,
    thread: Vec<&'a str>,
    kind: Vec<&'a str>,
    public: Vec<Option<&'a str>>,
    private: Vec<Option<&'a str>>,
    created_at: Vec<i64>,
    processed_at: Vec<Option<i64>>,
    processed_id: Vec<Option<&'a str>>,
    // Of the entries that process another one: which, and from where. The first one counts.
    done_session: Vec<i64>,
    done_id: Vec<&'a str>,
    done_seq: Vec<i64>,
    done_at: Vec<i64>,
}

impl<'a> Entries<'a> {
    fn of(appends: impl Iterator<Item = (&'a Append, &'a Appended)>) -> Self {
        let mut columns = Self::default();
        let mut done = HashSet::new();
        for (append, appended) in appends {
            for (seq, entry) in (appended.first..).zip(&append.entries) {
                columns.push(append.session, seq, entry);
                if let Some(processed) = &entry.processes
                    && done.insert((append.session, processed.as_str()))
                {
                    columns.done_session.push(append.session);
                    columns.done_id.push(processed.as_str());
                    columns.done_seq.push(seq);
                    columns.done_at.push(entry.created_at.0);
                }
            }
        }
        columns
    }

    fn push(&mut self, session: i64, seq: i64, entry: &'a NewEntry) {
        let NewEntry { thread, id, kind, public, private, created_at, processed_at, processes } = entry;
        self.session.push(session);
        self.seq.push(seq);
        self.position.push(log::position(entry, seq));
        self.id.push(id.as_str());
        self.thread.push(thread.as_str());
        self.kind.push(kind.as_str());
        self.public.push(public.as_deref().map(RawValue::get));
        self.private.push(private.as_deref().map(RawValue::get));
        self.created_at.push(created_at.0);
        self.processed_at.push(processed_at.map(|at| at.0));
        self.processed_id.push(processes.as_ref().map(Id::as_str));
    }

    fn inserts(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.session,
            &self.seq,
            &self.position,
            &self.id,
            &self.thread,
            &self.kind,
            &self.public,
            &self.private,
            &self.created_at,
            &self.processed_at,
            &self.processed_id,
        ]
    }

    fn processes(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.done_session, &self.done_id, &self.done_seq, &self.done_at]
    }
}

/// Jobs as columns. Of those with the same name the first counts, and all transactions write them in the order of their
/// names, so that two never wait for each other.
#[derive(Default)]
struct Jobs<'a> {
    kind: Vec<&'a str>,
    key: Vec<&'a str>,
    workspace: Vec<Option<&'a str>>,
    node: Vec<Option<&'a str>>,
    body: Vec<&'a str>,
    run_at: Vec<Option<i64>>,
}

impl<'a> Jobs<'a> {
    fn of(jobs: impl Iterator<Item = &'a NewJob>) -> Self {
        let mut by_name = BTreeMap::new();
        for job in jobs {
            by_name.entry((&job.kind, &job.key)).or_insert(job);
        }
        let mut columns = Self::default();
        for NewJob { kind, key, workspace, node, body, run_at } in by_name.into_values() {
            columns.kind.push(kind);
            columns.key.push(key);
            columns.workspace.push(workspace.as_ref().map(Id::as_str));
            columns.node.push(node.as_deref());
            columns.body.push(body);
            columns.run_at.push(run_at.map(|at| at.0));
        }
        columns
    }

    fn ensures(&self) -> [&(dyn ToSql + Sync); 6] {
        [&self.kind, &self.key, &self.workspace, &self.node, &self.body, &self.run_at]
    }
}

/// Rows of sessions as columns.
#[derive(Default)]
struct Sessions<'a> {
    key: Vec<i64>,
    head: Vec<i64>,
    epoch: Vec<i64>,
    holder: Vec<Option<&'a str>>,
    lease_until: Vec<i64>,
    runnable: Vec<i64>,
    status: Vec<&'a str>,
    progress: Vec<Option<&'a str>>,
    is_titled: Vec<bool>,
    title: Vec<Option<&'a str>>,
    metadata: Vec<Option<&'a str>>,
    archived_at: Vec<Option<i64>>,
    waiting: Vec<String>,
}

impl<'a> Sessions<'a> {
    fn of(work: &'a BTreeMap<i64, Work>) -> Self {
        let mut columns = Self::default();
        for (key, Work { head, patch, now: _, is_touched: _, is_longer: _ }) in work {
            columns.key.push(*key);
            columns.head.push(head.head);
            columns.epoch.push(head.epoch);
            columns.holder.push(head.holder.as_deref());
            columns.lease_until.push(head.lease_until);
            columns.runnable.push(i64::from(head.runnable));
            columns.status.push(head.status.as_str());
            columns.progress.push(patch.progress.as_deref());
            columns.is_titled.push(patch.title.is_some());
            columns.title.push(patch.title.as_ref().and_then(Option::as_deref));
            columns.metadata.push(patch.metadata.as_deref());
            columns.archived_at.push(patch.archived_at.map(|at| at.0));
            columns.waiting.push(api::entry::raw(&head.waiting).get().to_owned());
        }
        columns
    }

    fn updates<'b>(&'b self, now: &'b i64) -> [&'b (dyn ToSql + Sync); 14] {
        [
            now,
            &self.key,
            &self.head,
            &self.epoch,
            &self.holder,
            &self.lease_until,
            &self.runnable,
            &self.status,
            &self.progress,
            &self.is_titled,
            &self.title,
            &self.metadata,
            &self.archived_at,
            &self.waiting,
        ]
    }
}

/// Changed threads as columns.
#[derive(Default)]
struct Threads<'a> {
    session: Vec<i64>,
    id: Vec<&'a str>,
    agent: Vec<Option<&'a str>>,
    status: Vec<&'a str>,
    progress: Vec<&'a str>,
    archived_at: Vec<Option<i64>>,
}

impl<'a> Threads<'a> {
    fn of(work: &'a BTreeMap<i64, Work>) -> Self {
        let mut columns = Self::default();
        for (session, work) in work {
            for ThreadChange { id, agent, status, progress, archived_at } in &work.patch.threads {
                columns.session.push(*session);
                columns.id.push(id.as_str());
                columns.agent.push(agent.as_deref());
                columns.status.push(status.as_str());
                columns.progress.push(progress);
                columns.archived_at.push(archived_at.map(|at| at.0));
            }
        }
        columns
    }

    fn upserts<'b>(&'b self, now: &'b i64) -> [&'b (dyn ToSql + Sync); 7] {
        [now, &self.session, &self.id, &self.agent, &self.status, &self.progress, &self.archived_at]
    }
}
