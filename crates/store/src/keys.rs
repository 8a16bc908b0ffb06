//! Server keys. Only the SHA-256 of a key is kept. A key is looked up before its workspace is known.

use std::sync::LazyLock;

use api::ids::ApiKeyId;
use api::ids::kind;
use api::time::Timestamp;

use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::records::Noun;
use crate::records::Record;
use crate::records::Texts;

/// A server key; requests with it act in its workspace.
pub type KeyRecord = Record<KeyColumns>;

/// Columns of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumns {
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
}

impl Noun for KeyColumns {
    type Kind = kind::ApiKey;
    const NAME: &'static str = "key";
    const TABLE: &'static str = "api_key";
    const COLUMNS: &'static [&'static str] = &["name", "hash"];
    const ARCHIVED: &'static str = "revoked_at";

    fn texts() -> &'static Texts {
        static TEXTS: LazyLock<Texts> = LazyLock::new(Texts::of::<KeyColumns>);
        &TEXTS
    }

    fn values(&self) -> Vec<Value> {
        let Self { name, hash } = self;
        vec![name.into(), Value::Blob(hash.to_vec())]
    }

    fn read(row: &mut Row) -> Result<Self, Error> {
        Ok(Self { name: row.text("name of a key")?, hash: row.bytes("hash of a key")? })
    }
}

static BY_HASH: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE it.hash = $1", KeyColumns::texts().select));
static ALL: LazyLock<String> =
    LazyLock::new(|| format!("{} ORDER BY it.created_at, it.id", KeyColumns::texts().select));

impl Store {
    /// The key with this hash, revoked or not.
    pub async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, Error> {
        self.read_one("find a key", Stmt::new(&BY_HASH, [Value::Blob(hash.to_vec())])).await
    }

    /// All keys of all workspaces, oldest first.
    pub async fn list_keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.read_all("list keys", Stmt::new(&ALL, [])).await
    }

    /// Revokes a key; the first time counts. [`Error::NotFound`] when there is no such key.
    pub async fn revoke_key(&self, id: &ApiKeyId, at: Timestamp) -> Result<(), Error> {
        let revoke = Stmt::new(
            "UPDATE api_key SET revoked_at = COALESCE(revoked_at, $1), updated_at = COALESCE(revoked_at, $1)
             WHERE id = $2",
            [at.into(), id.into()],
        );
        match self.backend.commit("revoke a key", vec![revoke.one()]).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Err(Error::not_found("key", id)),
        }
    }
}
