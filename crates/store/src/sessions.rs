//! Sessions: the row that carries status, lease and head of the log, and the parts that clients read.
//!
//! What changes with every append is kept apart from the agent's snapshot, which may be large and hardly ever changes.
//! After its creation a session is changed by [`Store::append`] alone.

use std::sync::LazyLock;

use api::entry::NewEntry;
use api::ids::AgentId;
use api::ids::EnvironmentId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::ids::WorkspaceId;
use api::sessions::SessionStatus;
use api::time::Timestamp;

use crate::Claim;
use crate::Error;
use crate::Store;
use crate::Waiting;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::limits;
use crate::list::ListQuery;
use crate::log;
use crate::threads;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Short key, given by the store; never used twice.
    pub key: i64,
    /// Its id.
    pub id: SessionId,
    /// The workspace it belongs to.
    pub workspace: WorkspaceId,
    /// The agent it was made from.
    pub agent_id: AgentId,
    /// Version of that agent.
    pub agent_version: i64,
    /// The environment it works in.
    pub environment_id: EnvironmentId,
    /// Its primary thread.
    pub thread: ThreadId,
    /// What it does now.
    pub status: SessionStatus,
    /// What it is called.
    pub title: Option<String>,
    /// A JSON object.
    pub metadata: String,
    /// Snapshot of the agent as clients read it, JSON.
    pub agent: String,
    /// What was fixed when the session was made, JSON.
    pub extra: String,
    /// Usage and statistics, JSON.
    pub progress: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// The last entry of its log.
    pub head: i64,
    /// The last lease that was given out.
    pub epoch: i64,
    /// The node that holds the lease, which may have expired.
    pub holder: Option<String>,
    /// Whether there is work for whoever claims it.
    pub runnable: bool,
    /// The calls that wait for the client.
    pub waiting: Vec<Waiting>,
}

/// A session to be made, with the first entries of its log.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What it is. `key`, `head`, `epoch` and `holder` are the store's to fill in.
    pub record: SessionRecord,
    /// The beginning of its log.
    pub entries: Vec<NewEntry>,
    /// Takes the lease at once.
    pub claim: Option<Claim>,
}

/// A page of sessions: what all lists have, and filters of their own. Empty filters match everything.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Filters on creation, place and size of the page.
    pub base: ListQuery,
    /// Sessions of this agent.
    pub agent_id: Option<AgentId>,
    /// Sessions of this version of the agent.
    pub agent_version: Option<i64>,
    /// Sessions of this deployment. There are none yet.
    pub deployment_id: Option<String>,
    /// Sessions with this memory store. There are none yet.
    pub memory_store_id: Option<String>,
    /// Sessions in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Sessions in one of these states.
    pub statuses: Vec<SessionStatus>,
}

const READ: &str = "SELECT it.key, it.id, it.workspace, it.agent_id, it.agent_version, it.environment_id, it.thread,
 it.status, it.title, it.metadata, body.agent, body.extra, it.progress, it.created_at, it.updated_at, it.archived_at,
 it.head, it.epoch, it.holder, it.runnable, it.waiting FROM session it JOIN session_body body ON body.session = it.key WHERE";

static BY_ID: LazyLock<String> = LazyLock::new(|| format!("{READ} it.workspace = $1 AND it.id = $2"));
static BY_KEY: LazyLock<String> = LazyLock::new(|| format!("{READ} it.key = $1"));

impl Store {
    /// Makes a session with the first entries of its log, in one durable transaction.
    pub async fn create_session(&self, new: NewSession) -> Result<SessionRecord, Error> {
        let NewSession { mut record, entries, claim } = new;
        let (op, size, max) = ("create a session", entries.len(), limits::ENTRIES_PER_APPEND_MAX);
        if size > max {
            return Err(Error::TooLarge { op, what: "first entries", size, max });
        }
        record.head = i64::try_from(size).unwrap_or(i64::MAX);
        record.epoch = i64::from(claim.is_some());
        let ttl_ms = claim.as_ref().map_or(0, |claim| claim.ttl_ms);
        record.holder = claim.map(|claim| claim.node);
        let mut batch = insert(&record, ttl_ms);
        batch.extend(log::insert_first(&record.id, entries));
        match self.backend.commit(op, batch).await? {
            Outcome::Done(rows) => {
                let key = rows.into_iter().next().and_then(|mut rows| rows.pop());
                record.key = key
                    .map_or_else(|| Err(Error::not_found("session", &record.id)), |mut row| row.int("key"))?;
                Ok(record)
            }
            Outcome::Dangling => Err(Error::not_found("environment", &record.environment_id)),
            Outcome::Refused | Outcome::Duplicate => Err(Error::exists("session", &record.id)),
        }
    }

    /// The session, if it belongs to the workspace.
    pub async fn session(
        &self,
        workspace: &WorkspaceId,
        id: &SessionId,
    ) -> Result<Option<SessionRecord>, Error> {
        let find = Stmt::new(BY_ID.as_str(), [workspace.into(), id.into()]);
        self.backend.query("read a session", find).await?.pop().map(read).transpose()
    }

    /// The session of this key, of any workspace.
    pub async fn session_by_key(&self, key: i64) -> Result<Option<SessionRecord>, Error> {
        let find = Stmt::new(BY_KEY.as_str(), [key.into()]);
        self.backend.query("read a session by its key", find).await?.pop().map(read).transpose()
    }

    /// A page of sessions.
    pub async fn list_sessions(
        &self,
        workspace: &WorkspaceId,
        query: &SessionQuery,
    ) -> Result<Vec<SessionRecord>, Error> {
        let SessionQuery { base, agent_id, agent_version, deployment_id, memory_store_id, .. } = query;
        let SessionQuery { environment_id, statuses, .. } = query;
        if deployment_id.is_some() || memory_store_id.is_some() {
            return Ok(Vec::new());
        }
        let op = "list sessions";
        let mut select = Select::new(&format!("{READ} it.workspace = $1"), workspace);
        select.and_some("it.agent_id =", agent_id.as_ref());
        select.and_some("it.agent_version =", *agent_version);
        select.and_some("it.environment_id =", environment_id.as_ref());
        select.and_in(op, "it.status", statuses.iter().map(|status| status.as_str()))?;
        self.backend.query(op, base.finish(select, "archived_at")).await?.into_iter().map(read).collect()
    }

    /// Deletes a session and its log, and tells its followers. [`Error::Running`] while it is at work or held.
    pub async fn delete_session(&self, workspace: &WorkspaceId, id: &SessionId) -> Result<(), Error> {
        // The first statement takes the row, so that nobody appends between the others.
        let guard = Stmt::new(
            "UPDATE session SET runnable = 0 WHERE workspace = $1 AND id = $2
             AND status NOT IN ('running', 'rescheduling') AND (holder IS NULL OR lease_until <= lease_now())
             RETURNING key",
            [workspace.into(), id.into()],
        );
        let batch = vec![
            guard.one(),
            Stmt::new(
                "DELETE FROM entry WHERE session = (SELECT key FROM session WHERE id = $1)",
                [id.into()],
            ),
            Stmt::new(
                "DELETE FROM thread WHERE session = (SELECT key FROM session WHERE id = $1)",
                [id.into()],
            ),
            Stmt::new(
                "DELETE FROM session_body WHERE session = (SELECT key FROM session WHERE id = $1)",
                [id.into()],
            ),
            Stmt::new(
                "DELETE FROM sandbox WHERE session = (SELECT key FROM session WHERE id = $1)",
                [id.into()],
            ),
            Stmt::new("DELETE FROM session WHERE id = $1", [id.into()]).one(),
        ];
        match self.backend.commit("delete a session", batch).await? {
            Outcome::Done(mut rows) => {
                if let Some(mut row) = rows.swap_remove(0).pop() {
                    self.hub.delete(row.int("key of a session")?);
                }
                Ok(())
            }
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                match self.session(workspace, id).await? {
                    Some(_) => Err(Error::Running { id: id.clone() }),
                    None => Err(Error::not_found("session", id)),
                }
            }
        }
    }
}

fn insert(record: &SessionRecord, ttl_ms: i64) -> Batch {
    let SessionRecord {
        key: _,
        id,
        workspace,
        agent_id,
        agent_version,
        environment_id,
        thread,
        status,
        title,
        metadata,
        agent,
        extra,
        progress,
        created_at,
        updated_at,
        archived_at,
        head,
        epoch,
        holder,
        runnable,
        waiting: _,
    } = record;
    let row = Stmt::new(
        "INSERT INTO session (id, workspace, agent_id, agent_version, environment_id, thread, status, title, metadata,
         progress, created_at, updated_at, archived_at, head, epoch, holder, runnable, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, lease_now() + $18)
         RETURNING key",
        [
            Value::from(id),
            workspace.into(),
            agent_id.into(),
            (*agent_version).into(),
            environment_id.into(),
            thread.into(),
            status.as_str().into(),
            title.as_ref().into(),
            metadata.into(),
            progress.into(),
            (*created_at).into(),
            (*updated_at).into(),
            (*archived_at).into(),
            (*head).into(),
            (*epoch).into(),
            holder.as_ref().into(),
            (*runnable).into(),
            ttl_ms.saturating_mul(1000).into(),
        ],
    );
    let body = Stmt::new(
        "INSERT INTO session_body (session, agent, extra) VALUES ((SELECT key FROM session WHERE id = $1), $2, $3)",
        [id.into(), agent.into(), extra.into()],
    );
    vec![row, body, threads::insert_primary(record)]
}

fn read(mut row: Row) -> Result<SessionRecord, Error> {
    Ok(SessionRecord {
        key: row.int("key of a session")?,
        id: row.id("session id")?,
        workspace: row.id("workspace of a session")?,
        agent_id: row.id("agent of a session")?,
        agent_version: row.int("agent version of a session")?,
        environment_id: row.id("environment of a session")?,
        thread: row.id("thread of a session")?,
        status: row.status("status of a session")?,
        title: row.optional_text("title of a session")?,
        metadata: row.text("metadata of a session")?,
        agent: row.text("agent of a session")?,
        extra: row.text("extra of a session")?,
        progress: row.text("progress of a session")?,
        created_at: row.time("creation of a session")?,
        updated_at: row.time("change of a session")?,
        archived_at: row.optional_time("archiving of a session")?,
        head: row.int("head of a session")?,
        epoch: row.int("epoch of a session")?,
        holder: row.optional_text("holder of a session")?,
        runnable: row.int("runnable of a session")? != 0,
        waiting: row.json("waiting calls of a session")?,
    })
}
