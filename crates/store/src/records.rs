//! Records: objects of a workspace, each one row of a table, most of them answered as they are stored.
//!
//! Every record has the columns of [`Record`]; a [`Noun`] names its table and the columns of its own. Insert, get,
//! guarded replace, list, delete and kept versions are written once, here. The guard is the time of the last change: it
//! rises with every change ([`Record::next_change`]), and a writer that read an older one gets [`Error::Conflict`].
//!
//! To add a noun: a migration for each database makes its table (the columns of `Record`, those of the noun, an index on
//! workspace, `created_at` and id); a file beside this one has the struct of its own columns, `impl Noun`, and the
//! queries that no other noun has; `lib.rs` exports both. A list with filters of its own starts from
//! [`Texts::select`] and ends with [`ListQuery::finish`], as [`Store::list`] does.

mod texts;

use api::ids::Id;
use api::ids::Kind;
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
use texts::Text;
pub(crate) use texts::Texts;

/// An object of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<N: Noun> {
    pub id: Id<N::Kind>,
    /// The tenant. Nobody else learns that the object exists.
    pub workspace: WorkspaceId,
    pub created_at: Timestamp,
    /// Time of the last change; guards the next one.
    pub updated_at: Timestamp,
    /// Time of archiving; of a key, of its revocation.
    pub archived_at: Option<Timestamp>,
    /// The columns that only this noun has.
    pub columns: N,
}

/// A kind of record: its table, and the columns of its own.
pub trait Noun: Sized + Send + Sync + 'static {
    /// Kind of its ids.
    type Kind: Kind;
    /// Its name in errors.
    const NAME: &'static str;
    /// Its table.
    const TABLE: &'static str;
    /// The columns of its own, in the order of [`Noun::values`] and [`Noun::read`].
    const COLUMNS: &'static [&'static str];
    /// Column of [`Record::archived_at`].
    const ARCHIVED: &'static str = "archived_at";
    /// Table with the same columns that keeps every version; one of the noun's own columns is then `version`.
    const VERSIONS: Option<&'static str> = None;
    /// Counts the sessions that refer to the object `$1` and forbid its deletion.
    const REFERENCES: &'static str = "SELECT 0";

    /// [`Texts::of`] the noun, put together once.
    fn texts() -> &'static Texts;
    /// Values of the noun's own columns.
    fn values(&self) -> Vec<Value>;
    /// The noun's own columns of a row.
    fn read(row: &mut Row) -> Result<Self, Error>;
}

impl<N: Noun> Record<N> {
    /// A new record.
    pub fn new(id: Id<N::Kind>, workspace: WorkspaceId, created_at: Timestamp, columns: N) -> Self {
        Self { id, workspace, created_at, updated_at: created_at, archived_at: None, columns }
    }

    /// Time of a change that is made at `now`: later than the last one, whatever the clock says.
    pub fn next_change(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp(self.updated_at.0 + 1))
    }

    fn values(&self) -> Vec<Value> {
        let Self { id, workspace, created_at, updated_at, archived_at, columns } = self;
        let mut values = vec![
            id.into(),
            workspace.into(),
            (*created_at).into(),
            (*updated_at).into(),
            (*archived_at).into(),
        ];
        values.extend(columns.values());
        values
    }

    fn read(mut row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.id(N::NAME)?,
            workspace: row.id(N::NAME)?,
            created_at: row.time(N::NAME)?,
            updated_at: row.time(N::NAME)?,
            archived_at: row.optional_time(N::NAME)?,
            columns: N::read(&mut row)?,
        })
    }

    fn version(&self) -> Option<Stmt> {
        N::VERSIONS.map(|_| Stmt::new(&N::texts().keep_version.sql, self.values()))
    }
}

impl Store {
    /// Adds a record, and its first version where versions are kept. [`Error::Exists`] when its id, or something else
    /// that must be unique, is there already.
    pub async fn insert<N: Noun>(&self, record: &Record<N>) -> Result<(), Error> {
        let Text { op, sql } = &N::texts().insert;
        let mut batch = vec![Stmt::new(sql, record.values())];
        batch.extend(record.version());
        match self.backend.commit(op, batch).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => {
                Err(Error::exists(N::NAME, &record.id))
            }
        }
    }

    /// The record of this id in the workspace.
    pub async fn get<N: Noun>(
        &self,
        workspace: &WorkspaceId,
        id: &Id<N::Kind>,
    ) -> Result<Option<Record<N>>, Error> {
        let Text { op, sql } = &N::texts().find;
        self.read_one(op, Stmt::new(sql, [workspace.into(), id.into()])).await
    }

    /// The record as it was at a version; `None` for nouns whose versions are not kept.
    pub async fn get_version<N: Noun>(
        &self,
        workspace: &WorkspaceId,
        id: &Id<N::Kind>,
        version: i64,
    ) -> Result<Option<Record<N>>, Error> {
        if N::VERSIONS.is_none() {
            return Ok(None);
        }
        let Text { op, sql } = &N::texts().find_version;
        self.read_one(op, Stmt::new(sql, [workspace.into(), id.into(), version.into()])).await
    }

    /// Puts `next` in the place of the record that the caller read, which was last changed at `expected`.
    /// [`Error::Conflict`] when it changed since. A new version is kept beside the old ones; the same version is replaced.
    pub async fn replace<N: Noun>(&self, next: &Record<N>, expected: Timestamp) -> Result<(), Error> {
        let Text { op, sql } = &N::texts().replace;
        let mut values = next.values().split_off(3);
        values.extend([Value::from(&next.workspace), Value::from(&next.id), expected.into()]);
        let mut batch = vec![Stmt::new(sql, values).one()];
        batch.extend(next.version());
        match self.backend.commit(op, batch).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Duplicate => Err(Error::exists(N::NAME, &next.id)),
            Outcome::Refused | Outcome::Dangling => match self.get::<N>(&next.workspace, &next.id).await? {
                Some(stored) => Err(Error::Conflict {
                    what: N::NAME,
                    id: next.id.to_string(),
                    current: stored.updated_at.0,
                }),
                None => Err(Error::not_found(N::NAME, &next.id)),
            },
        }
    }

    /// A page of records.
    pub async fn list<N: Noun>(
        &self,
        workspace: &WorkspaceId,
        query: &ListQuery,
    ) -> Result<Vec<Record<N>>, Error> {
        let Text { op, sql } = &N::texts().list;
        self.read_all(op, query.finish(Select::new(sql, workspace), N::ARCHIVED)).await
    }

    /// A page of a record's versions, newest first, below `before_version`.
    pub async fn list_versions<N: Noun>(
        &self,
        workspace: &WorkspaceId,
        id: &Id<N::Kind>,
        before_version: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Record<N>>, Error> {
        if N::VERSIONS.is_none() {
            return Ok(Vec::new());
        }
        let Text { op, sql } = &N::texts().list_versions;
        let mut select = Select::with(sql, vec![workspace.into(), id.into()]);
        select.and_some("it.version <", before_version);
        select.push(" ORDER BY it.version DESC");
        self.read_all(op, select.limit(limit)).await
    }

    /// Deletes a record with its versions. [`Error::InUse`] when sessions refer to it.
    pub async fn delete<N: Noun>(&self, workspace: &WorkspaceId, id: &Id<N::Kind>) -> Result<(), Error> {
        let Text { op, sql } = &N::texts().delete;
        let mut batch = vec![Stmt::new(sql, [workspace.into(), id.into()]).one()];
        if N::VERSIONS.is_some() {
            batch.push(Stmt::new(&N::texts().delete_versions.sql, [workspace.into(), id.into()]));
        }
        match self.backend.commit(op, batch).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused => Err(Error::not_found(N::NAME, id)),
            Outcome::Duplicate | Outcome::Dangling => {
                let mut rows = self.backend.query(op, Stmt::new(N::REFERENCES, [id.into()])).await?;
                let sessions = rows.pop().map(|mut row| row.int("count of sessions")).transpose()?;
                Err(Error::InUse { what: N::NAME, id: id.to_string(), sessions: sessions.unwrap_or(0) })
            }
        }
    }

    pub(crate) async fn read_one<N: Noun>(
        &self,
        op: &'static str,
        stmt: Stmt,
    ) -> Result<Option<Record<N>>, Error> {
        self.backend.query(op, stmt).await?.pop().map(Record::read).transpose()
    }

    pub(crate) async fn read_all<N: Noun>(
        &self,
        op: &'static str,
        stmt: Stmt,
    ) -> Result<Vec<Record<N>>, Error> {
        self.backend.query(op, stmt).await?.into_iter().map(Record::read).collect()
    }
}
