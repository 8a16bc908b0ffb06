//! Server keys. Only the SHA-256 of a key is kept.

use api::ids::ApiKeyId;
use api::ids::WorkspaceId;
use api::time::Timestamp;

use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::backend::Value;

/// A server key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: ApiKeyId,
    /// The workspace that requests with it act in.
    pub workspace: WorkspaceId,
    /// What it is called.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// Adds a key. [`Error::Exists`] when the id or the key is there already.
    pub async fn insert_key(&self, key: &KeyRecord) -> Result<(), Error> {
        let KeyRecord { id, workspace, name, hash, created_at, revoked_at } = key;
        let insert = Stmt::new(
            "INSERT INTO api_key (id, workspace, name, hash, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6)",
            [
                id.into(),
                workspace.into(),
                name.into(),
                Value::Blob(hash.to_vec()),
                (*created_at).into(),
                (*revoked_at).into(),
            ],
        );
        match self.backend.commit("insert a key", vec![insert]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Err(Error::exists("key", id)),
        }
    }

    /// The key with this hash, revoked or not.
    pub async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, Error> {
        let find = Stmt::new(
            "SELECT id, workspace, name, hash, created_at, revoked_at FROM api_key WHERE hash = $1",
            [Value::Blob(hash.to_vec())],
        );
        self.backend.query("find a key", find).await?.pop().map(read).transpose()
    }

    /// All keys, oldest first.
    pub async fn list_keys(&self) -> Result<Vec<KeyRecord>, Error> {
        let list = Stmt::new(
            "SELECT id, workspace, name, hash, created_at, revoked_at FROM api_key ORDER BY created_at, id",
            [],
        );
        self.backend.query("list keys", list).await?.into_iter().map(read).collect()
    }

    /// Revokes a key; the first time counts. [`Error::NotFound`] when there is no such key.
    pub async fn revoke_key(&self, id: &ApiKeyId, at: Timestamp) -> Result<(), Error> {
        let revoke = Stmt::new(
            "UPDATE api_key SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2",
            [at.into(), id.into()],
        );
        match self.backend.commit("revoke a key", vec![revoke.one()]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Err(Error::not_found("key", id)),
        }
    }
}

fn read(mut row: Row) -> Result<KeyRecord, Error> {
    Ok(KeyRecord {
        id: row.id("key id")?,
        workspace: row.id("workspace of a key")?,
        name: row.text("name of a key")?,
        hash: row.bytes("hash of a key")?,
        created_at: row.time("creation of a key")?,
        revoked_at: row.optional_time("revocation of a key")?,
    })
}
