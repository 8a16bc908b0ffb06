//! Agents and all their versions. The body is the JSON that clients read; the rest is what is filtered or guarded.

use api::ids::AgentId;
use api::ids::WorkspaceId;
use api::time::Timestamp;

use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::list::ListQuery;

/// An agent as it was at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Its id.
    pub id: AgentId,
    /// The workspace it belongs to.
    pub workspace: WorkspaceId,
    /// Rises with every change.
    pub version: i64,
    /// When the agent was made.
    pub created_at: Timestamp,
    /// When it became what it is.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// The agent as clients read it.
    pub body: String,
}

const COLUMNS: &str =
    "it.id, it.workspace, it.version, it.created_at, it.updated_at, it.archived_at, it.body";

impl Store {
    /// Adds an agent and its first version.
    pub async fn insert_agent(&self, agent: &AgentRecord) -> Result<(), Error> {
        let insert = Stmt::new(
            "INSERT INTO agent (id, workspace, version, created_at, updated_at, archived_at, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            values(agent),
        );
        match self.backend.commit("insert an agent", vec![insert, keep_version(agent)]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                Err(Error::exists("agent", &agent.id))
            }
        }
    }

    /// The agent as it is now.
    pub async fn agent(&self, workspace: &WorkspaceId, id: &AgentId) -> Result<Option<AgentRecord>, Error> {
        let find = Stmt::new(
            "SELECT it.id, it.workspace, it.version, it.created_at, it.updated_at, it.archived_at, it.body
             FROM agent it WHERE it.workspace = $1 AND it.id = $2",
            [workspace.into(), id.into()],
        );
        self.backend.query("read an agent", find).await?.pop().map(read).transpose()
    }

    /// The agent as it was at a version.
    pub async fn agent_version(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        version: i64,
    ) -> Result<Option<AgentRecord>, Error> {
        let find = Stmt::new(
            "SELECT it.id, it.workspace, it.version, it.created_at, it.updated_at, it.archived_at, it.body
             FROM agent_version it WHERE it.workspace = $1 AND it.id = $2 AND it.version = $3",
            [workspace.into(), id.into(), version.into()],
        );
        self.backend.query("read a version of an agent", find).await?.pop().map(read).transpose()
    }

    /// Puts `agent` in the place of the version that the caller read. [`Error::Conflict`] when another one is stored.
    /// A new version is kept beside the old ones; the same version is replaced.
    pub async fn replace_agent(&self, agent: &AgentRecord, expected_version: i64) -> Result<(), Error> {
        let AgentRecord { id, workspace, version, created_at: _, updated_at, archived_at, body } = agent;
        let replace = Stmt::new(
            "UPDATE agent SET version = $1, updated_at = $2, archived_at = $3, body = $4
             WHERE workspace = $5 AND id = $6 AND version = $7",
            [
                (*version).into(),
                (*updated_at).into(),
                (*archived_at).into(),
                body.into(),
                workspace.into(),
                id.into(),
                expected_version.into(),
            ],
        );
        match self.backend.commit("replace an agent", vec![replace.one(), keep_version(agent)]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                match self.agent(workspace, id).await? {
                    Some(stored) => {
                        Err(Error::Conflict { what: "agent", id: id.to_string(), current: stored.version })
                    }
                    None => Err(Error::not_found("agent", id)),
                }
            }
        }
    }

    /// A page of agents.
    pub async fn list_agents(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
    ) -> Result<Vec<AgentRecord>, Error> {
        let select =
            Select::new(&format!("SELECT {COLUMNS} FROM agent it WHERE it.workspace = $1"), workspace);
        self.backend.query("list agents", query.finish(select)).await?.into_iter().map(read).collect()
    }

    /// A page of an agent's versions, newest first, below `before_version`.
    pub async fn list_agent_versions(
        &self,
        workspace: &WorkspaceId,
        id: &AgentId,
        before_version: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AgentRecord>, Error> {
        let mut select = Select::new(
            &format!("SELECT {COLUMNS} FROM agent_version it WHERE it.workspace = $1"),
            workspace,
        );
        select.and("it.id =", id);
        select.and_some("it.version <", before_version);
        select.push(" ORDER BY it.version DESC");
        self.backend
            .query("list versions of an agent", select.limit(limit))
            .await?
            .into_iter()
            .map(read)
            .collect()
    }
}

fn keep_version(agent: &AgentRecord) -> Stmt {
    Stmt::new(
        "INSERT INTO agent_version (id, workspace, version, created_at, updated_at, archived_at, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id, version) DO UPDATE
         SET updated_at = excluded.updated_at, archived_at = excluded.archived_at, body = excluded.body",
        values(agent),
    )
}

fn values(agent: &AgentRecord) -> [Value; 7] {
    let AgentRecord { id, workspace, version, created_at, updated_at, archived_at, body } = agent;
    [
        id.into(),
        workspace.into(),
        (*version).into(),
        (*created_at).into(),
        (*updated_at).into(),
        (*archived_at).into(),
        body.into(),
    ]
}

fn read(mut row: Row) -> Result<AgentRecord, Error> {
    Ok(AgentRecord {
        id: row.id("agent id")?,
        workspace: row.id("workspace of an agent")?,
        version: row.int("version of an agent")?,
        created_at: row.time("creation of an agent")?,
        updated_at: row.time("change of an agent")?,
        archived_at: row.optional_time("archiving of an agent")?,
        body: row.text("body of an agent")?,
    })
}
