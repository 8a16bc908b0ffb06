//! Jobs: durable work, written in the commit that causes it.
//!
//! A job is one row from the commit that writes it to the commit that ends it. [`Append::jobs`] and every batch of this crate
//! can write one, so that there is never a cause without its job or a job without its cause. `(kind, key)` names the work:
//! while a job of that name is open, writing another one changes nothing. Work whose facts may change while it runs puts
//! them into its key.
//!
//! Whoever runs a job holds a lease, as with sessions: the epoch rises with every attempt, and what a holder writes through
//! [`hold`] or [`finish`] is refused once another attempt has begun. An attempt that fails is repeated after a pause; a job
//! whose attempts are used up is parked with its last error, where [`Store::jobs`] shows it until its name is written again
//! or [`Store::forget_jobs`] removes it. Times are those of the lease clock; see [`Store::open`].
//!
//! [`Append::jobs`]: crate::Append::jobs

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api::ids::WorkspaceId;
use api::time::Timestamp;
use tokio::sync::watch;

use crate::Claim;
use crate::Error;
use crate::Store;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::limits;

/// Work to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Which handler runs it.
    pub kind: String,
    /// What it is about: at most one job of a kind and key is open.
    pub key: String,
    /// The workspace that it belongs to, if one.
    pub workspace: Option<WorkspaceId>,
    /// The data folder whose server must run it; `None` when any may. Written again by another node while nobody runs it,
    /// the job moves to that node.
    pub node: Option<String>,
    /// What its handler needs to know, JSON.
    pub body: String,
    /// The earliest time of its first attempt; `None` for now.
    pub run_at: Option<Timestamp>,
}

/// An attempt at a job, held by its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Number of the job; never used again.
    pub id: i64,
    /// Which of the job's leases it is.
    pub epoch: i64,
    /// Which handler runs it.
    pub kind: String,
    /// What it is about.
    pub key: String,
    /// The workspace that it belongs to, if one.
    pub workspace: Option<WorkspaceId>,
    /// What its handler needs to know, JSON.
    pub body: String,
    /// When this attempt was due.
    pub run_at: Timestamp,
    /// Which attempt this is, from 1.
    pub attempts: i64,
    /// For how long it has been due, in microseconds.
    pub late_by_us: i64,
}

/// A job that is open or parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Number of the job.
    pub id: i64,
    /// Which handler runs it.
    pub kind: String,
    /// What it is about.
    pub key: String,
    /// The workspace that it belongs to, if one.
    pub workspace: Option<WorkspaceId>,
    /// The data folder whose server must run it.
    pub node: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When its next attempt is due.
    pub run_at: Timestamp,
    /// Attempts that have begun.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// How far it is.
    pub state: JobState,
}

/// How many jobs there are by kind and by `waiting`, `running` or `parked`.
pub type JobCounts = BTreeMap<(String, &'static str), usize>;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its time, or a worker with room, has not come.
    Waiting,
    /// A worker holds its lease.
    Running,
    /// Given up at this time.
    Parked(Timestamp),
}

const COLUMNS: &str = "id, kind, key, workspace, node, created_at, run_at, attempts, error, parked_at,
    CASE WHEN holder IS NOT NULL AND lease_until > lease_now() THEN lease_until END FROM job WHERE";

impl Store {
    /// Writes a job unless one of its name is open. False when one is.
    pub async fn ensure_job(&self, job: &NewJob) -> Result<bool, Error> {
        check(std::slice::from_ref(job))?;
        self.is_done("write a job", vec![ensure(job).one()]).await
    }

    /// Takes the leases of jobs that are due, up to a number for each kind. `home` is the data folder of the caller.
    pub async fn claim_jobs(
        &self,
        kinds: &[(&str, usize)],
        claim: &Claim,
        home: &str,
    ) -> Result<Vec<Job>, Error> {
        let Claim { node, ttl_ms } = claim;
        let sql = format!(
            "WITH due AS MATERIALIZED (
               SELECT id FROM job WHERE kind = $1 AND parked_at IS NULL AND run_at <= lease_now()
               AND (holder IS NULL OR lease_until <= lease_now()) AND (node IS NULL OR node = $2)
               ORDER BY run_at, id LIMIT $3 {})
             UPDATE job SET holder = $4, lease_until = lease_now() + $5, epoch = epoch + 1, attempts = attempts + 1
             WHERE id IN (SELECT id FROM due)
             RETURNING id, epoch, kind, key, workspace, body, run_at, attempts, lease_now() - run_at",
            self.backend.skip_locked()
        );
        let take = |(kind, room): &(&str, usize)| {
            let room = i64::try_from((*room).min(limits::JOBS_PER_CLAIM_MAX)).unwrap_or(i64::MAX);
            let args = [(*kind).into(), home.into(), room.into(), node.into(), micros(*ttl_ms)];
            Stmt { sql: sql.clone().into(), ..Stmt::new("", args) }
        };
        let batch: Batch = kinds.iter().map(take).collect();
        let Outcome::Done(rows) = self.backend.commit("claim jobs", batch).await? else {
            return Ok(Vec::new());
        };
        let mut jobs: Vec<Job> = rows.into_iter().flatten().map(read_claimed).collect::<Result<_, _>>()?;
        jobs.sort_unstable_by_key(|job| (job.run_at, job.id));
        Ok(jobs)
    }

    /// Microseconds until the next job of these kinds is due here, negative when one is; `None` when there is none. Jobs that
    /// somebody runs do not count.
    pub async fn next_job_in(&self, kinds: &[&str], home: &str) -> Result<Option<i64>, Error> {
        let op = "look for the next job";
        let mut select = Select::new(
            "SELECT run_at - lease_now() FROM job WHERE parked_at IS NULL
             AND (holder IS NULL OR lease_until <= lease_now()) AND (node IS NULL OR node = $1)",
            home,
        );
        select.and_in(op, "kind", kinds.iter().copied())?;
        select.push(" ORDER BY run_at, id");
        let next = self.backend.query(op, select.limit(1)).await?.pop();
        next.map(|mut row| row.int("time of a job")).transpose()
    }

    /// Prolongs leases to `ttl_ms` from now. Returns the ids of the jobs whose lease is lost.
    pub async fn renew_jobs(&self, jobs: &[(i64, i64)], ttl_ms: i64) -> Result<Vec<i64>, Error> {
        let mut jobs = jobs.to_vec();
        jobs.sort_unstable();
        let mut lost = Vec::new();
        for jobs in jobs.chunks(limits::RENEWALS_PER_COMMIT_MAX) {
            let batch: Batch = jobs.iter().map(|(id, epoch)| hold(*id, *epoch, ttl_ms)).collect();
            let Outcome::Done(rows) = self.backend.commit("renew jobs", batch).await? else { continue };
            lost.extend(jobs.iter().zip(rows).filter(|(_, rows)| rows.is_empty()).map(|((id, _), _)| *id));
        }
        Ok(lost)
    }

    /// Ends a job that is done. False when the lease is lost.
    pub async fn finish_job(&self, job: &Job) -> Result<bool, Error> {
        self.is_done("finish a job", vec![finish(job).one()]).await
    }

    /// Ends an attempt that failed; the next one is due after `pause_ms`. False when the lease is lost.
    pub async fn fail_job(&self, job: &Job, error: &str, pause_ms: i64) -> Result<bool, Error> {
        let fail = Stmt::new(
            "UPDATE job SET holder = NULL, error = $1, run_at = lease_now() + $2
             WHERE id = $3 AND epoch = $4 AND holder IS NOT NULL RETURNING id",
            [shorten(error).into(), micros(pause_ms), job.id.into(), job.epoch.into()],
        );
        self.is_done("end an attempt at a job", vec![fail.one()]).await
    }

    /// Gives a job up. False when the lease is lost.
    pub async fn park_job(&self, job: &Job, error: &str) -> Result<bool, Error> {
        let park = Stmt::new(
            "UPDATE job SET holder = NULL, error = $1, parked_at = lease_now()
             WHERE id = $2 AND epoch = $3 AND holder IS NOT NULL RETURNING id",
            [shorten(error).into(), job.id.into(), job.epoch.into()],
        );
        self.is_done("park a job", vec![park.one()]).await
    }

    /// Gives back the leases of a node that stops; what it began does not count as an attempt.
    pub async fn release_jobs(&self, node: &str) -> Result<(), Error> {
        let release = Stmt::new(
            "UPDATE job SET holder = NULL, attempts = attempts - 1 WHERE holder = $1",
            [node.into()],
        );
        self.backend.commit("release the jobs of a node", vec![release]).await.map(drop)
    }

    /// The job of this name, if it is open or parked.
    pub async fn job(&self, kind: &str, key: &str) -> Result<Option<JobRecord>, Error> {
        let mut select = Select::new(&format!("SELECT {COLUMNS} kind = $1"), kind);
        select.and("key =", key);
        self.backend.query("read a job", select.limit(1)).await?.pop().map(read).transpose()
    }

    /// Jobs that are open or parked, of one kind or of all, after the one with this id.
    pub async fn jobs(&self, kind: Option<&str>, after: i64, limit: usize) -> Result<Vec<JobRecord>, Error> {
        let mut select = Select::new(&format!("SELECT {COLUMNS} id > $1"), after);
        select.and_some("kind =", kind);
        select.push(" ORDER BY id");
        self.backend.query("list jobs", select.limit(limit)).await?.into_iter().map(read).collect()
    }

    /// How many jobs there are.
    pub async fn job_counts(&self) -> Result<JobCounts, Error> {
        let count = Stmt::new(
            "SELECT kind, count(*), count(parked_at),
             count(CASE WHEN parked_at IS NULL AND holder IS NOT NULL AND lease_until > lease_now() THEN 1 END)
             FROM job GROUP BY kind",
            [],
        );
        let mut counts = JobCounts::new();
        for mut row in self.backend.query("count jobs", count).await? {
            let kind = row.text("kind of a job")?;
            let mut figure = || Ok(usize::try_from(row.int("number of jobs")?).unwrap_or(0));
            let (all, parked, running) = (figure()?, figure()?, figure()?);
            counts.insert((kind.clone(), "waiting"), all.saturating_sub(parked + running));
            counts.insert((kind.clone(), "running"), running);
            counts.insert((kind, "parked"), parked);
        }
        Ok(counts)
    }

    /// Removes jobs that were parked, or that nobody has run although they were due, for `kept_ms`.
    pub async fn forget_jobs(&self, kept_ms: i64) -> Result<(), Error> {
        let forget = Stmt::new(
            "DELETE FROM job WHERE COALESCE(parked_at, run_at) <= lease_now() - $1
             AND (holder IS NULL OR lease_until <= lease_now())",
            [micros(kept_ms)],
        );
        self.backend.commit("forget old jobs", vec![forget]).await.map(drop)
    }

    /// Changes whenever a job was written, here or, with a database that is shared, on another node.
    pub fn job_news(&self) -> watch::Receiver<u64> {
        self.hub.job_news()
    }

    /// Whether a batch took effect that demands how many rows it touches.
    pub(crate) async fn is_done(&self, op: &'static str, batch: Batch) -> Result<bool, Error> {
        match self.backend.commit(op, batch).await? {
            Outcome::Done(_) => Ok(true),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Ok(false),
        }
    }
}

/// Refuses what is too large.
pub(crate) fn check(jobs: &[NewJob]) -> Result<(), Error> {
    let op = "write a job";
    let (size, max) = (jobs.len(), limits::JOBS_PER_APPEND_MAX);
    if size > max {
        return Err(Error::TooLarge { op, what: "jobs in one append", size, max });
    }
    let (size, max) = (jobs.iter().map(|job| job.body.len()).max().unwrap_or(0), limits::JOB_BYTES_MAX);
    if size > max {
        return Err(Error::TooLarge { op, what: "bytes in a job", size, max });
    }
    Ok(())
}

/// Writes one job; see [`UNLESS_OPEN`].
static ENSURE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO job (kind, key, workspace, node, body, run_at, created_at, attempts, epoch, lease_until)
         VALUES ($1, $2, $3, $4, $5, COALESCE($6, lease_now()), lease_now(), 0, 0, 0) {UNLESS_OPEN} RETURNING id"
    )
});

/// The end of a statement that writes jobs: one that is open stays as it is, unless another node is to run it and nobody
/// does; one that was parked begins anew.
pub(crate) const UNLESS_OPEN: &str = "ON CONFLICT (kind, key) DO UPDATE SET workspace = excluded.workspace,
    node = excluded.node, body = excluded.body, run_at = excluded.run_at, created_at = excluded.created_at, attempts = 0,
    holder = NULL, error = NULL, parked_at = NULL
    WHERE job.parked_at IS NOT NULL OR (COALESCE(job.node, '') <> COALESCE(excluded.node, '')
      AND (job.holder IS NULL OR job.lease_until <= lease_now()))";

/// Writes a job and wakes the workers; touches no row when one of its name is open.
pub(crate) fn ensure(job: &NewJob) -> Stmt {
    let NewJob { kind, key, workspace, node, body, run_at } = job;
    let args = [
        kind.into(),
        key.into(),
        workspace.as_ref().into(),
        node.as_ref().into(),
        body.into(),
        Value::from(*run_at),
    ];
    Stmt { announces_job: true, ..Stmt::new(ENSURE.as_str(), args) }
}

/// Prolongs a lease; touches no row when it is lost. In front of other statements it makes them those of the holder.
pub(crate) fn hold(id: i64, epoch: i64, ttl_ms: i64) -> Stmt {
    Stmt::new(
        "UPDATE job SET lease_until = lease_now() + $1
         WHERE id = $2 AND epoch = $3 AND holder IS NOT NULL RETURNING id",
        [micros(ttl_ms), id.into(), epoch.into()],
    )
}

/// Ends a job; touches no row when the lease is lost.
pub(crate) fn finish(job: &Job) -> Stmt {
    Stmt::new(
        "DELETE FROM job WHERE id = $1 AND epoch = $2 AND holder IS NOT NULL RETURNING id",
        [job.id.into(), job.epoch.into()],
    )
}

fn micros(ms: i64) -> Value {
    ms.saturating_mul(1000).into()
}

/// An error that is no longer than a row should hold.
fn shorten(error: &str) -> &str {
    let mut end = error.len().min(limits::JOB_ERROR_BYTES_MAX);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

fn read_claimed(mut row: Row) -> Result<Job, Error> {
    Ok(Job {
        id: row.int("id of a job")?,
        epoch: row.int("epoch of a job")?,
        kind: row.text("kind of a job")?,
        key: row.text("key of a job")?,
        workspace: row.optional_id("workspace of a job")?,
        body: row.text("body of a job")?,
        run_at: row.time("time of a job")?,
        attempts: row.int("attempts at a job")?,
        late_by_us: row.int("lag of a job")?,
    })
}

fn read(mut row: Row) -> Result<JobRecord, Error> {
    let mut job = JobRecord {
        id: row.int("id of a job")?,
        kind: row.text("kind of a job")?,
        key: row.text("key of a job")?,
        workspace: row.optional_id("workspace of a job")?,
        node: row.optional_text("node of a job")?,
        created_at: row.time("creation of a job")?,
        run_at: row.time("time of a job")?,
        attempts: row.int("attempts at a job")?,
        error: row.optional_text("error of a job")?,
        state: JobState::Waiting,
    };
    let (parked_at, held_until) = (row.optional_time("end of a job")?, row.optional_int("lease of a job")?);
    job.state = match (parked_at, held_until) {
        (Some(at), _) => JobState::Parked(at),
        (None, Some(_)) => JobState::Running,
        (None, None) => JobState::Waiting,
    };
    Ok(job)
}
