//! What there is of a session's sandbox, for those who ask.

use api::time::Timestamp;
use serde::Serialize;
use store::SandboxRecord;
use store::SessionRecord;

use crate::Error;
use crate::Harness;

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// There is none, and there are no files.
    None,
    /// It runs.
    Running,
    /// It runs, and its processes are stopped until the next call.
    Frozen,
    /// It does not run; its files are on a node.
    Kept,
    /// It does not run; its files are in the blob store.
    Checkpointed,
}

/// A session's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SandboxStatus {
    /// Where it is in its life, as far as this node can see.
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When its files and its checkpoint go.
    pub expires_at: Option<Timestamp>,
    /// Size of its checkpoint.
    pub checkpoint_bytes: Option<i64>,
    /// When that was made.
    pub checkpointed_at: Option<Timestamp>,
}

impl Harness {
    /// What there is of a session's sandbox. Makes none, and wakes none.
    pub async fn sandbox_of(&self, session: &SessionRecord) -> Result<SandboxStatus, Error> {
        let hands = &self.0.hands;
        let row = hands.store.sandbox(session.key).await;
        let row = row.map_err(|source| Error::of_session("read the sandbox of", &session.id, source))?;
        let seat = hands.seats.find(&session.id);
        let (is_running, is_frozen) = seat.map_or((false, false), |seat| {
            let facts = seat.facts();
            (facts.is_running, facts.frozen == Some(true))
        });
        let state = match &row {
            _ if is_running && is_frozen => SandboxState::Frozen,
            _ if is_running => SandboxState::Running,
            None => SandboxState::None,
            Some(row) if row.is_changed || row.checkpoint.is_none() => SandboxState::Kept,
            Some(_) => SandboxState::Checkpointed,
        };
        let checkpoint = row.as_ref().and_then(|row| row.checkpoint.as_ref());
        let time = |time: fn(&SandboxRecord) -> Timestamp| row.as_ref().map(time);
        Ok(SandboxStatus {
            state,
            created_at: time(|row| row.created_at),
            expires_at: time(|row| row.expires_at),
            checkpoint_bytes: checkpoint.map(|checkpoint| checkpoint.bytes),
            checkpointed_at: checkpoint.map(|checkpoint| checkpoint.made_at),
        })
    }
}
