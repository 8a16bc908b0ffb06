//! Builds: the packages of an environment on their way into a layer, and how that went.
//!
//! A row says how the last build of a layer went or goes. What is to be done is a job of the same key: its lease decides who
//! builds, and a node that has lost it changes nothing here any more.

use api::time::Timestamp;

use crate::Error;
use crate::Job;
use crate::NewJob;
use crate::Store;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::jobs;

/// A build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    /// What it was made from; the name of its layer.
    pub key: String,
    /// How far it is.
    pub state: BuildState,
    /// What it does, or did last.
    pub step: String,
    /// The last lines that its step printed.
    pub log: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The data folder whose server builds, or built.
    pub node: String,
    /// What its layer takes on disk, where that is known.
    pub bytes: Option<i64>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When its layer was last wanted.
    pub used_at: Timestamp,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildState {
    /// Its job is open; when there is none, its builder is gone.
    Building,
    /// Its layer is on the node that built it.
    Ready,
    /// It failed and left nothing.
    Failed,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildEnd {
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Its last step.
    pub step: String,
    /// The last lines that it printed.
    pub log: String,
    /// What the layer takes on disk, where that is known.
    pub bytes: Option<i64>,
    /// When.
    pub at: Timestamp,
}

impl BuildState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Building, Self::Ready, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

impl Store {
    /// The build of this key, if there ever was one.
    pub async fn build(&self, key: &str) -> Result<Option<BuildRecord>, Error> {
        let find = Stmt::new(
            "SELECT key, state, step, log, error, node, bytes, created_at, finished_at, used_at
             FROM build WHERE key = $1",
            [key.into()],
        );
        self.backend.query("read a build", find).await?.pop().map(read).transpose()
    }

    /// Begins a build by writing its job, whose key is the layer, unless one is open. False when one is.
    pub async fn begin_build(&self, job: &NewJob, now: Timestamp) -> Result<bool, Error> {
        jobs::check(std::slice::from_ref(job))?;
        let begin = Stmt::new(
            "INSERT INTO build (key, state, step, log, node, lease_until, created_at, used_at)
             VALUES ($1, 'building', '', '', $2, 0, $3, $4)
             ON CONFLICT (key) DO UPDATE SET state = excluded.state, step = '', log = '', error = NULL, bytes = NULL,
               node = excluded.node, created_at = excluded.created_at, finished_at = NULL, used_at = excluded.used_at",
            [
                (&job.key).into(),
                job.node.as_deref().unwrap_or_default().into(),
                now.into(),
                now.into(),
            ],
        );
        self.is_done("begin a build", vec![jobs::ensure(job).one(), begin]).await
    }

    /// Records how far a build is and prolongs the lease of its job. False when that is lost.
    pub async fn continue_build(&self, job: &Job, ttl_ms: i64, step: &str, log: &str) -> Result<bool, Error> {
        let progress = Stmt::new(
            "UPDATE build SET step = $1, log = $2 WHERE key = $3",
            [step.into(), log.into(), (&job.key).into()],
        );
        self.is_done("go on with a build", vec![jobs::hold(job.id, job.epoch, ttl_ms).one(), progress]).await
    }

    /// Ends a build and its job. False when the lease of the job is lost.
    pub async fn end_build(&self, job: &Job, end: &BuildEnd) -> Result<bool, Error> {
        let BuildEnd { error, step, log, bytes, at } = end;
        let state = if error.is_some() { BuildState::Failed } else { BuildState::Ready };
        let end = Stmt::new(
            "UPDATE build SET state = $1, error = $2, step = $3, log = $4, bytes = $5, finished_at = $6 WHERE key = $7",
            [
                state.as_str().into(),
                error.as_ref().into(),
                step.into(),
                log.into(),
                (*bytes).into(),
                (*at).into(),
                (&job.key).into(),
            ],
        );
        self.is_done("end a build", vec![jobs::finish(job).one(), end]).await
    }

    /// Notes that the layer of a build is wanted.
    pub async fn use_build(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        let note = Stmt::new("UPDATE build SET used_at = $1 WHERE key = $2", [now.into(), key.into()]);
        self.backend.commit("note the use of a build", vec![note]).await.map(drop)
    }

    /// Builds whose layers nobody has wanted since `before`, the longest unused first.
    pub async fn unused_builds(&self, before: Timestamp, limit: usize) -> Result<Vec<BuildRecord>, Error> {
        let mut select = Select::new(
            "SELECT key, state, step, log, error, node, bytes, created_at, finished_at, used_at
             FROM build WHERE used_at < $1",
            before,
        );
        select.push(" ORDER BY used_at, key");
        let rows = self.backend.query("list unused builds", select.limit(limit)).await?;
        rows.into_iter().map(read).collect()
    }

    /// Forgets builds whose layers nobody has wanted since `before`.
    pub async fn forget_builds(&self, before: Timestamp) -> Result<(), Error> {
        let forget = Stmt::new("DELETE FROM build WHERE used_at < $1", [before.into()]);
        self.backend.commit("forget unused builds", vec![forget]).await.map(drop)
    }
}

fn read(mut row: Row) -> Result<BuildRecord, Error> {
    let key = row.text("key of a build")?;
    let state = row.text("state of a build")?;
    let state = BuildState::parse(&state).ok_or(Error::Corrupt { what: "state of a build", value: state })?;
    Ok(BuildRecord {
        key,
        state,
        step: row.text("step of a build")?,
        log: row.text("log of a build")?,
        error: row.optional_text("error of a build")?,
        node: row.text("node of a build")?,
        bytes: row.optional_int("size of a build")?,
        created_at: row.time("begin of a build")?,
        finished_at: row.optional_time("end of a build")?,
        used_at: row.time("last use of a build")?,
    })
}
