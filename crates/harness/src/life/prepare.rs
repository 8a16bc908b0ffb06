//! Before the first call of a session in this process: its newest files are brought here, or it is given new ones.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::ids::SessionId;
use sandbox::Root;
use store::SandboxRecord;

use super::Failure;
use super::Held;
use super::Seat;
use super::plan::Findings;
use super::plan::Plan;
use super::plan::plan;
use crate::environments::Wanted;
use crate::limits;
use crate::shell::Hands;

/// The sessions that have files on this node.
#[derive(Debug, Default)]
pub(crate) struct Here(Mutex<HashSet<SessionId>>);

impl Here {
    pub(super) fn new(sessions: impl IntoIterator<Item = SessionId>) -> Self {
        Self(Mutex::new(sessions.into_iter().collect()))
    }

    pub(super) fn has(&self, session: &SessionId) -> bool {
        self.all().contains(session)
    }

    pub(super) fn add(&self, session: &SessionId) {
        self.all().insert(session.clone());
    }

    pub(super) fn remove(&self, session: &SessionId) {
        self.all().remove(session);
    }

    fn all(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    /// What the session's sandbox stands on, once its newest files are here. One caller does the work, others wait for it.
    pub(crate) async fn prepare(&self, held: &Held, wanted: &Wanted) -> Result<Root, Failure> {
        let seat = &held.seat;
        let _gate = seat.gate.lock().await;
        if let Some(root) = self.readiness(seat) {
            return Ok(root);
        }
        let here = self.here().await?;
        let mut has_asked = false;
        for _ in 0..limits::TAKE_ATTEMPTS_MAX {
            let Some(row) = self.store.sandbox(wanted.key).await? else {
                // The first call ever, or a server died before it had noted that.
                let root = self.environments.root(&wanted.environment).await?;
                seat.facts().is_unnoted = true;
                return Ok(settle(seat, here, root));
            };
            let findings = Findings {
                row: &row,
                node: &self.life.node,
                has_files: here.has(&seat.session),
                now: self.clock.now(),
                is_in_use: seat.facts().calls > 1,
                has_asked,
            };
            let is_done = match plan(findings) {
                Plan::Go => true,
                Plan::Take => self.store.take_sandbox(&row, &self.life.node).await?,
                Plan::Ask => {
                    has_asked = true;
                    self.ask(&row).await?;
                    false
                }
                Plan::Restore { checkpoint, is_behind } => {
                    let limits = self.environments.limits(&wanted.environment.sandbox)?;
                    self.restore(seat, &row, &checkpoint, is_behind, limits).await?
                }
                Plan::Afresh { is_loss } => self.begin_afresh(seat, &row, is_loss).await?,
                Plan::Expire => {
                    let gone = row.expires_at;
                    self.expire(seat, &row).await?;
                    seat.facts().notice = Some(format!(
                        "The sandbox of earlier calls was kept until {gone} and is gone with its files; this is a new one."
                    ));
                    false
                }
            };
            if is_done {
                return Ok(settle(seat, here, root_of(&row, &seat.session)?));
            }
        }
        Err(Failure::Overtaken { session: seat.session.clone(), attempts: limits::TAKE_ATTEMPTS_MAX })
    }

    /// A sandbox without files, in the place of one that cannot be had any more.
    pub(super) async fn begin_afresh(
        &self,
        seat: &Seat,
        row: &SandboxRecord,
        is_loss: bool,
    ) -> Result<bool, Failure> {
        self.clear(&seat.session).await?;
        if is_loss {
            tracing::warn!(session.id = %seat.session, "the files of session {} are lost with node {}", seat.session, row.node);
            let notice = "The sandbox of earlier calls was lost with its files; this is a new one.";
            seat.facts().notice = Some(notice.to_owned());
        }
        Ok(self.store.take_sandbox(row, &self.life.node).await?)
    }

    /// The sessions that have files here. The back end is asked once; from then on every change goes through here.
    pub(super) async fn here(&self) -> Result<&Here, Failure> {
        let look = async || {
            let kept = self.backend.kept().await?;
            let running = self.backend.list().await?;
            Ok(Here::new(kept.into_iter().chain(running)))
        };
        self.here.get_or_try_init(look).await
    }

    /// Removes what there is of a session on this node: its sandbox and its files.
    pub(super) async fn clear(&self, session: &SessionId) -> Result<(), Failure> {
        let here = self.here().await?;
        self.backend.destroy(session, false).await?;
        here.remove(session);
        if let Some(seat) = self.seats.find(session) {
            seat.facts().is_running = false;
        }
        Ok(())
    }

    /// The row of a sandbox that begins now.
    pub(super) fn new_row(&self, key: i64, root: &Root) -> SandboxRecord {
        let now = self.clock.now();
        SandboxRecord {
            session: key,
            node: self.life.node.clone(),
            root: serde_json::to_string(root).expect("a root is plain data"),
            created_at: now,
            expires_at: now.plus_millis(self.life.keep_ms),
            is_changed: true,
            wanted_by: None,
            number: 0,
            checkpoint: None,
        }
    }

    /// Notes a sandbox that has just been made, if that is its first time. Not sooner: files that never were cannot be lost.
    /// In the background, so that the call need not wait: the sweep finds files without a row.
    pub(crate) fn note_made(&self, seat: &Seat, key: i64, root: &Root) {
        if !std::mem::take(&mut seat.facts().is_unnoted) {
            return;
        }
        let (store, row) = (self.store.clone(), self.new_row(key, root));
        drop(self.tasks.spawn("note a sandbox", async move {
            if let Err(error) = store.note_sandbox(&row).await {
                tracing::warn!(error = %error, "note the sandbox of session {key} failed; the sweep will do it");
            }
        }));
    }
}

fn settle(seat: &Seat, here: &Here, root: Root) -> Root {
    here.add(&seat.session);
    let mut facts = seat.facts();
    facts.root = Some(root.clone());
    facts.is_ready = true;
    root
}

fn root_of(row: &SandboxRecord, session: &SessionId) -> Result<Root, Failure> {
    let root = serde_json::from_str(&row.root);
    root.map_err(|source| Failure::Root { session: session.clone(), source })
}
