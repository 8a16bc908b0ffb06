//! Environments. The body is the JSON that clients read; the rest is what is filtered or guarded.

use api::ids::EnvironmentId;
use api::ids::WorkspaceId;
use api::time::Timestamp;

use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::list::ListQuery;

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentRecord {
    /// Its id.
    pub id: EnvironmentId,
    /// The workspace it belongs to.
    pub workspace: WorkspaceId,
    /// What it is called. The store does not demand that names differ.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// The environment as clients read it.
    pub body: String,
    /// What it says of its sandboxes beyond that, JSON.
    pub sandbox: Option<String>,
}

const COLUMNS: &str = "it.id, it.workspace, it.name, it.created_at, it.updated_at, it.archived_at, it.body,
 it.sandbox";

impl Store {
    /// Adds an environment.
    pub async fn insert_environment(&self, environment: &EnvironmentRecord) -> Result<(), Error> {
        let EnvironmentRecord { id, workspace, name, created_at, updated_at, archived_at, body, sandbox } =
            environment;
        let insert = Stmt::new(
            "INSERT INTO environment (id, workspace, name, created_at, updated_at, archived_at, body, sandbox)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            [
                id.into(),
                workspace.into(),
                name.into(),
                (*created_at).into(),
                (*updated_at).into(),
                (*archived_at).into(),
                body.into(),
                sandbox.as_ref().into(),
            ],
        );
        match self.backend.commit("insert an environment", vec![insert]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                Err(Error::exists("environment", id))
            }
        }
    }

    /// The environment.
    pub async fn environment(
        &self,
        workspace: &WorkspaceId,
        id: &EnvironmentId,
    ) -> Result<Option<EnvironmentRecord>, Error> {
        let find = Stmt::new(
            "SELECT it.id, it.workspace, it.name, it.created_at, it.updated_at, it.archived_at, it.body,
               it.sandbox
             FROM environment it WHERE it.workspace = $1 AND it.id = $2",
            [workspace.into(), id.into()],
        );
        self.backend.query("read an environment", find).await?.pop().map(read).transpose()
    }

    /// The oldest environment of this name that is not archived.
    pub async fn environment_named(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<Option<EnvironmentRecord>, Error> {
        let find = Stmt::new(
            "SELECT it.id, it.workspace, it.name, it.created_at, it.updated_at, it.archived_at, it.body,
               it.sandbox
             FROM environment it WHERE it.workspace = $1 AND it.name = $2 AND it.archived_at IS NULL
             ORDER BY it.created_at, it.id LIMIT 1",
            [workspace.into(), name.into()],
        );
        self.backend.query("find an environment by its name", find).await?.pop().map(read).transpose()
    }

    /// Puts `environment` in the place of the one that the caller read, which was last changed at `expected`.
    /// [`Error::Conflict`] when it changed since; its `current` is the stored time of change in microseconds.
    pub async fn replace_environment(
        &self,
        environment: &EnvironmentRecord,
        expected: Timestamp,
    ) -> Result<(), Error> {
        let EnvironmentRecord { id, workspace, name, created_at: _, updated_at, archived_at, body, sandbox } =
            environment;
        let replace = Stmt::new(
            "UPDATE environment SET name = $1, updated_at = $2, archived_at = $3, body = $4, sandbox = $5
             WHERE workspace = $6 AND id = $7 AND updated_at = $8",
            [
                name.into(),
                (*updated_at).into(),
                (*archived_at).into(),
                body.into(),
                sandbox.as_ref().into(),
                workspace.into(),
                id.into(),
                expected.into(),
            ],
        );
        match self.backend.commit("replace an environment", vec![replace.one()]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                match self.environment(workspace, id).await? {
                    Some(stored) => Err(Error::Conflict {
                        what: "environment",
                        id: id.to_string(),
                        current: stored.updated_at.0,
                    }),
                    None => Err(Error::not_found("environment", id)),
                }
            }
        }
    }

    /// A page of environments.
    pub async fn list_environments(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
    ) -> Result<Vec<EnvironmentRecord>, Error> {
        let select =
            Select::new(&format!("SELECT {COLUMNS} FROM environment it WHERE it.workspace = $1"), workspace);
        self.backend.query("list environments", query.finish(select)).await?.into_iter().map(read).collect()
    }

    /// Deletes an environment. [`Error::InUse`] when a session refers to it.
    pub async fn delete_environment(&self, workspace: &WorkspaceId, id: &EnvironmentId) -> Result<(), Error> {
        let delete = Stmt::new(
            "DELETE FROM environment WHERE workspace = $1 AND id = $2",
            [workspace.into(), id.into()],
        );
        match self.backend.commit("delete an environment", vec![delete.one()]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused => Err(Error::not_found("environment", id)),
            Outcome::Duplicate | Outcome::Dangling => {
                let count = Stmt::new("SELECT count(*) FROM session WHERE environment_id = $1", [id.into()]);
                let mut rows = self.backend.query("count the sessions of an environment", count).await?;
                let sessions =
                    rows.pop().map(|mut row| row.int("count of sessions")).transpose()?.unwrap_or(0);
                Err(Error::InUse { what: "environment", id: id.to_string(), sessions })
            }
        }
    }
}

fn read(mut row: Row) -> Result<EnvironmentRecord, Error> {
    Ok(EnvironmentRecord {
        id: row.id("environment id")?,
        workspace: row.id("workspace of an environment")?,
        name: row.text("name of an environment")?,
        created_at: row.time("creation of an environment")?,
        updated_at: row.time("change of an environment")?,
        archived_at: row.optional_time("archiving of an environment")?,
        body: row.text("body of an environment")?,
        sandbox: row.optional_text("sandbox of an environment")?,
    })
}
