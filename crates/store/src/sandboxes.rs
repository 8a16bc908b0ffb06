//! Sandboxes: which node has the newest files of a session, and where their last checkpoint is.
//!
//! A row is made when a session gets its first sandbox and ends with the sandbox's time. Every change names what the
//! caller has read, so that of two nodes only one gets its way: whoever was overtaken is told so and reads again.

use std::sync::LazyLock;

use api::ids::SessionId;
use api::sessions::SessionStatus;
use api::time::Timestamp;

use crate::Error;
use crate::Store;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::limits;

/// What is known of a session's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRecord {
    /// Key of its session.
    pub session: i64,
    /// The node that has its files, or had them last. The name of a data folder: it outlasts starts of the server.
    pub node: String,
    /// What it stands on, JSON.
    pub root: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its files and its checkpoint may go, used or not.
    pub expires_at: Timestamp,
    /// Whether the files on its node are newer than its checkpoint.
    pub is_changed: bool,
    /// The node that waits for a checkpoint of them.
    pub wanted_by: Option<String>,
    /// How many checkpoints there have been.
    pub number: i64,
    /// The last one.
    pub checkpoint: Option<Checkpoint>,
}

/// The files of a sandbox in the blob store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Key of the blob.
    pub key: String,
    /// Digest of its bytes, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: i64,
    /// When it was made.
    pub made_at: Timestamp,
}

/// A session that is neither deleted nor ended, and what is known of its sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSession {
    /// Its id.
    pub id: SessionId,
    /// Its key.
    pub key: i64,
    /// Its sandbox, when it has one.
    pub sandbox: Option<SandboxRecord>,
}

const COLUMNS: &str =
    "box.session, box.node, box.root, box.created_at, box.expires_at, box.is_changed, box.wanted_by,
 box.number, box.checkpoint, box.sha256, box.bytes, box.checkpointed_at";

static BY_SESSION: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM sandbox box WHERE box.session = $1"));
static KNOWN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT it.id, it.key, {COLUMNS} FROM session it LEFT JOIN sandbox box ON box.session = it.key
         WHERE it.archived_at IS NULL AND it.status <> $1"
    )
});
static ENDED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT it.id, it.key, {COLUMNS} FROM sandbox box JOIN session it ON it.key = box.session
         WHERE ((box.node = $1 AND box.expires_at <= $2) OR box.expires_at <= $3 OR it.archived_at IS NOT NULL)
         ORDER BY box.expires_at LIMIT $4"
    )
});

impl Store {
    /// What is known of the sandbox of a session.
    pub async fn sandbox(&self, session: i64) -> Result<Option<SandboxRecord>, Error> {
        let find = Stmt::new(BY_SESSION.as_str(), [session.into()]);
        self.backend.query("read a sandbox", find).await?.pop().map(|mut row| read(&mut row)).transpose()
    }

    /// Adds the sandbox of a session. False when it is there already, or the session is not.
    pub async fn note_sandbox(&self, sandbox: &SandboxRecord) -> Result<bool, Error> {
        let SandboxRecord {
            session,
            node,
            root,
            created_at,
            expires_at,
            is_changed,
            wanted_by: _,
            number: _,
            checkpoint: _,
        } = sandbox;
        let insert = Stmt::new(
            "INSERT INTO sandbox (session, node, root, created_at, expires_at, is_changed, number)
             VALUES ($1, $2, $3, $4, $5, $6, 0)",
            [
                (*session).into(),
                node.into(),
                root.into(),
                (*created_at).into(),
                (*expires_at).into(),
                (*is_changed).into(),
            ],
        );
        self.was_done("note a sandbox", insert).await
    }

    /// Makes `node` the one that has the files, and has them newer than the checkpoint from now on. False when the
    /// sandbox is no longer as the caller read it.
    pub async fn take_sandbox(&self, read: &SandboxRecord, node: &str) -> Result<bool, Error> {
        let take = Stmt::new(
            "UPDATE sandbox SET node = $1, is_changed = 1, wanted_by = NULL
             WHERE session = $2 AND node = $3 AND number = $4",
            [node.into(), read.session.into(), (&read.node).into(), read.number.into()],
        );
        self.was_done("take a sandbox over", take.one()).await
    }

    /// Asks the node that has the files for a checkpoint of them. False when there is nothing to ask for any more.
    pub async fn want_sandbox(&self, read: &SandboxRecord, node: &str) -> Result<bool, Error> {
        let want = Stmt::new(
            "UPDATE sandbox SET wanted_by = $1 WHERE session = $2 AND node = $3 AND number = $4 AND is_changed = 1",
            [node.into(), read.session.into(), (&read.node).into(), read.number.into()],
        );
        self.was_done("ask for a sandbox", want.one()).await
    }

    /// The sessions whose files other nodes wait for here.
    pub async fn wanted_sandboxes(&self, node: &str, limit: usize) -> Result<Vec<KnownSession>, Error> {
        let mut select =
            Select::new(&format!("{} AND box.node = ", *KNOWN), SessionStatus::Terminated.as_str());
        select.arg(node);
        select.push(" AND box.wanted_by IS NOT NULL ORDER BY it.key");
        self.list_known("list wanted sandboxes", select.limit(limit)).await
    }

    /// The sessions whose files on this node are newer than their checkpoints, with keys above `after`.
    pub async fn changed_sandboxes(
        &self,
        node: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<KnownSession>, Error> {
        let mut select =
            Select::new(&format!("{} AND box.node = ", *KNOWN), SessionStatus::Terminated.as_str());
        select.arg(node);
        select.and("box.session >", after);
        select.push(" AND box.is_changed = 1 ORDER BY box.session");
        self.list_known("list changed sandboxes", select.limit(limit)).await
    }

    /// Puts a checkpoint in the place of the last one. False when the sandbox is no longer as the caller read it.
    pub async fn note_checkpoint(
        &self,
        read: &SandboxRecord,
        checkpoint: &Checkpoint,
    ) -> Result<bool, Error> {
        let Checkpoint { key, sha256, bytes, made_at } = checkpoint;
        let note = Stmt::new(
            "UPDATE sandbox SET checkpoint = $1, sha256 = $2, bytes = $3, checkpointed_at = $4, number = number + 1,
             is_changed = 0, wanted_by = NULL WHERE session = $5 AND node = $6 AND number = $7",
            [
                key.into(),
                sha256.into(),
                (*bytes).into(),
                (*made_at).into(),
                read.session.into(),
                (&read.node).into(),
                read.number.into(),
            ],
        );
        self.was_done("note a checkpoint", note.one()).await
    }

    /// Forgets a sandbox. False when it is no longer as the caller read it.
    pub async fn forget_sandbox(&self, read: &SandboxRecord) -> Result<bool, Error> {
        let forget = Stmt::new(
            "DELETE FROM sandbox WHERE session = $1 AND node = $2 AND number = $3",
            [read.session.into(), (&read.node).into(), read.number.into()],
        );
        self.was_done("forget a sandbox", forget.one()).await
    }

    /// Sandboxes whose time is over, oldest first: those of this node that expired by `now`, those of any node that
    /// expired by `long_ago`, and those of archived sessions.
    pub async fn expired_sandboxes(
        &self,
        node: &str,
        now: Timestamp,
        long_ago: Timestamp,
        limit: usize,
    ) -> Result<Vec<KnownSession>, Error> {
        let limit = i64::try_from(limit.min(limits::ROWS_PER_READ_MAX)).unwrap_or(i64::MAX);
        let list = Stmt::new(ENDED.as_str(), [node.into(), now.into(), long_ago.into(), limit.into()]);
        self.list_known("list expired sandboxes", list).await
    }

    /// Those of these sessions that are neither deleted nor ended.
    pub async fn sandbox_sessions_known(&self, ids: &[SessionId]) -> Result<Vec<KnownSession>, Error> {
        let op = "look sessions up";
        let mut known = Vec::new();
        for ids in ids.chunks(limits::FILTER_VALUES_MAX) {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let mut select = Select::new(KNOWN.as_str(), SessionStatus::Terminated.as_str());
            select.and_in(op, "it.id", ids.iter().map(String::as_str))?;
            known.extend(self.list_known(op, select.limit(limits::FILTER_VALUES_MAX)).await?);
        }
        Ok(known)
    }

    /// Those of these blobs that are checkpoints of sandboxes.
    pub async fn checkpoints_known(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        let op = "look checkpoints up";
        let mut known = Vec::new();
        for keys in keys.chunks(limits::FILTER_VALUES_MAX) {
            let mut select = Select::new("SELECT checkpoint FROM sandbox WHERE number > $1", 0_i64);
            select.and_in(op, "checkpoint", keys.iter().map(String::as_str))?;
            let rows = self.backend.query(op, select.limit(limits::FILTER_VALUES_MAX)).await?;
            for mut row in rows {
                known.push(row.text("checkpoint of a sandbox")?);
            }
        }
        Ok(known)
    }

    /// What the sandboxes of all nodes stand on, each once.
    pub async fn sandbox_roots(&self) -> Result<Vec<String>, Error> {
        let list = Stmt::new("SELECT DISTINCT root FROM sandbox", []);
        let rows = self.backend.query("list what sandboxes stand on", list).await?;
        rows.into_iter().map(|mut row| row.text("root of a sandbox")).collect()
    }

    async fn list_known(&self, op: &'static str, list: Stmt) -> Result<Vec<KnownSession>, Error> {
        self.backend.query(op, list).await?.into_iter().map(read_known).collect()
    }

    async fn was_done(&self, op: &'static str, stmt: Stmt) -> Result<bool, Error> {
        match self.backend.commit(op, vec![stmt]).await? {
            Outcome::Done(_) => Ok(true),
            Outcome::Refused | Outcome::Duplicate | Outcome::Dangling => Ok(false),
        }
    }
}

fn read_known(mut row: Row) -> Result<KnownSession, Error> {
    let id = row.id("session id")?;
    let key = row.int("key of a session")?;
    let session = row.optional_int("session of a sandbox")?;
    let sandbox = session.map(|session| read_rest(session, &mut row)).transpose()?;
    Ok(KnownSession { id, key, sandbox })
}

fn read(row: &mut Row) -> Result<SandboxRecord, Error> {
    let session = row.int("session of a sandbox")?;
    read_rest(session, row)
}

fn read_rest(session: i64, row: &mut Row) -> Result<SandboxRecord, Error> {
    Ok(SandboxRecord {
        session,
        node: row.text("node of a sandbox")?,
        root: row.text("root of a sandbox")?,
        created_at: row.time("creation of a sandbox")?,
        expires_at: row.time("end of a sandbox")?,
        is_changed: row.int("change of a sandbox")? != 0,
        wanted_by: row.optional_text("who wants a sandbox")?,
        number: row.int("checkpoints of a sandbox")?,
        checkpoint: match row.optional_text("checkpoint of a sandbox")? {
            None => None,
            Some(key) => Some(Checkpoint {
                key,
                sha256: row.text("digest of a checkpoint")?,
                bytes: row.int("size of a checkpoint")?,
                made_at: row.time("time of a checkpoint")?,
            }),
        },
    })
}
