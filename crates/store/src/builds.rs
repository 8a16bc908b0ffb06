//! Builds: the packages of an environment on their way into a layer, and how that went.
//!
//! One node at a time builds what a key stands for; it says so by a lease that it renews while it builds. Whoever finds the
//! lease run out may begin anew. A node that has been overtaken is told so by its next write, which changes nothing.

use api::time::Timestamp;

use crate::Claim;
use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;

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
    /// Who builds, or built.
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
    /// Somebody builds; when the lease has run out, somebody did.
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

    /// Begins a build unless somebody is at it. False when somebody is.
    pub async fn begin_build(&self, key: &str, claim: &Claim, now: Timestamp) -> Result<bool, Error> {
        let Claim { node, ttl_ms } = claim;
        let begin = Stmt::new(
            "INSERT INTO build (key, state, step, log, node, lease_until, created_at, used_at)
             VALUES ($1, 'building', '', '', $2, lease_now() + $3, $4, $5)
             ON CONFLICT (key) DO UPDATE SET state = excluded.state, step = '', log = '', error = NULL, bytes = NULL,
               node = excluded.node, lease_until = excluded.lease_until, created_at = excluded.created_at,
               finished_at = NULL, used_at = excluded.used_at
             WHERE build.state <> 'building' OR build.lease_until <= lease_now()
             RETURNING key",
            [key.into(), node.into(), ttl_ms.saturating_mul(1000).into(), now.into(), now.into()],
        );
        self.has_changed("begin a build", begin).await
    }

    /// Whether a node is at a build right now.
    pub async fn is_building(&self, key: &str) -> Result<bool, Error> {
        let find = Stmt::new(
            "SELECT key FROM build WHERE key = $1 AND state = 'building' AND lease_until > lease_now()",
            [key.into()],
        );
        Ok(!self.backend.query("look for a build", find).await?.is_empty())
    }

    /// Says how far a build is and prolongs its lease. False when somebody else has taken it over.
    pub async fn continue_build(
        &self,
        key: &str,
        claim: &Claim,
        step: &str,
        log: &str,
    ) -> Result<bool, Error> {
        let Claim { node, ttl_ms } = claim;
        let go_on = Stmt::new(
            "UPDATE build SET step = $1, log = $2, lease_until = lease_now() + $3
             WHERE key = $4 AND node = $5 AND state = 'building' RETURNING key",
            [step.into(), log.into(), ttl_ms.saturating_mul(1000).into(), key.into(), node.into()],
        );
        self.has_changed("go on with a build", go_on).await
    }

    /// Ends a build. False when somebody else has taken it over.
    pub async fn end_build(&self, key: &str, node: &str, end: &BuildEnd) -> Result<bool, Error> {
        let BuildEnd { error, step, log, bytes, at } = end;
        let state = if error.is_some() { BuildState::Failed } else { BuildState::Ready };
        let end = Stmt::new(
            "UPDATE build SET state = $1, error = $2, step = $3, log = $4, bytes = $5, finished_at = $6, lease_until = 0
             WHERE key = $7 AND node = $8 AND state = 'building' RETURNING key",
            [
                state.as_str().into(),
                error.as_ref().into(),
                step.into(),
                log.into(),
                (*bytes).into(),
                (*at).into(),
                key.into(),
                node.into(),
            ],
        );
        self.has_changed("end a build", end).await
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

    async fn has_changed(&self, op: &'static str, stmt: Stmt) -> Result<bool, Error> {
        match self.backend.commit(op, vec![stmt]).await? {
            Outcome::Done(rows) => Ok(rows.first().is_some_and(|rows| !rows.is_empty())),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Ok(false),
        }
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
