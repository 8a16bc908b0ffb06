//! The threads of a session: what clients read of each. Written by appends alone, in the commit of the entries that
//! change them.

use api::ids::ThreadId;
use api::sessions::SessionStatus;
use api::time::Timestamp;

use crate::Error;
use crate::SessionRecord;
use crate::Store;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::limits;

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Its id.
    pub id: ThreadId,
    /// Snapshot of its agent as clients read it, JSON; `None` for that of the session.
    pub agent: Option<String>,
    /// What it does now.
    pub status: SessionStatus,
    /// Usage and statistics, JSON.
    pub progress: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

/// What an append makes of a thread, which is made when it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadChange {
    /// Which thread.
    pub id: ThreadId,
    /// The new snapshot of its agent; `None` leaves it as it is.
    pub agent: Option<String>,
    /// The new status.
    pub status: SessionStatus,
    /// The new usage and statistics, JSON.
    pub progress: String,
    /// When it was archived; `None` leaves it as it is.
    pub archived_at: Option<Timestamp>,
}

impl Store {
    /// The threads of a session, oldest first.
    pub async fn threads(&self, session: i64) -> Result<Vec<ThreadRecord>, Error> {
        let max = i64::try_from(limits::ROWS_PER_READ_MAX).unwrap_or(i64::MAX);
        let list = Stmt::new(
            "SELECT id, agent, status, progress, created_at, updated_at, archived_at FROM thread
             WHERE session = $1 ORDER BY created_at, id LIMIT $2",
            [session.into(), max.into()],
        );
        self.backend.query("list the threads of a session", list).await?.into_iter().map(read).collect()
    }
}

/// The primary thread of a new session.
pub(crate) fn insert_primary(session: &SessionRecord) -> Stmt {
    Stmt::new(
        "INSERT INTO thread (session, id, status, progress, created_at, updated_at)
         VALUES ((SELECT key FROM session WHERE id = $1), $2, $3, $4, $5, $6)",
        [
            (&session.id).into(),
            (&session.thread).into(),
            session.status.as_str().into(),
            (&session.progress).into(),
            session.created_at.into(),
            session.updated_at.into(),
        ],
    )
}

/// Adds a later change to those of one commit, in which each thread is written once.
pub(crate) fn merge(changes: &mut Vec<ThreadChange>, later: &ThreadChange) {
    let Some(change) = changes.iter_mut().find(|change| change.id == later.id) else {
        return changes.push(later.clone());
    };
    let ThreadChange { id: _, agent, status, progress, archived_at } = later;
    change.agent = agent.clone().or_else(|| change.agent.take());
    change.status = *status;
    change.progress.clone_from(progress);
    change.archived_at = archived_at.or(change.archived_at);
}

fn read(mut row: Row) -> Result<ThreadRecord, Error> {
    Ok(ThreadRecord {
        id: row.id("thread id")?,
        agent: row.optional_text("agent of a thread")?,
        status: row.status("status of a thread")?,
        progress: row.text("progress of a thread")?,
        created_at: row.time("creation of a thread")?,
        updated_at: row.time("change of a thread")?,
        archived_at: row.optional_time("archiving of a thread")?,
    })
}
