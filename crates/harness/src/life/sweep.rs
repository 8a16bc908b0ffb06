//! No orphan: what crashes and time leave behind is found and removed. Every removal is made behind the session's gate and
//! after another look at the row, so that it never meets a call that has begun meanwhile.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

use api::ids::SessionId;
use futures_util::StreamExt;
use sandbox::LayerName;
use sandbox::Root;
use store::KnownSession;
use store::SandboxRecord;
use store::Store;

use super::Failure;
use super::Seat;
use super::checkpoint::CHECKPOINTS;
use crate::environments::Extra;
use crate::error::chain;
use crate::limits;
use crate::shell::Hands;

impl Hands {
    /// Removes what this node has of sessions that are gone, of sandboxes that other nodes have taken, of those whose time
    /// is over, and files whose checkpoint is old enough.
    pub(super) async fn sweep(&self, is_at_rest: &(dyn Fn(i64) -> bool + Sync)) -> Result<(), Failure> {
        let mut found = self.backend.kept().await?;
        found.extend(self.backend.list().await?);
        found.sort_unstable();
        found.dedup();
        let known = self.store.sandbox_sessions_known(&found).await?;
        let known: HashMap<SessionId, KnownSession> =
            known.into_iter().map(|known| (known.id.clone(), known)).collect();
        for session in found {
            let swept = match known.get(&session) {
                // One in which packages are installed, or the like.
                None if self.strangers.has(&session) => Ok(()),
                None => self.remove_unknown(&session).await,
                Some(known) => self.sweep_known(known, is_at_rest).await,
            };
            if let Err(error) = swept {
                let error = chain(&error);
                tracing::warn!(session.id = %session, error, "sweep the sandbox of session {session} failed; trying again");
            }
        }
        self.end_expired(is_at_rest).await
    }

    async fn remove_unknown(&self, session: &SessionId) -> Result<(), Failure> {
        tracing::info!(session.id = %session, "remove the sandbox of session {session}, which is gone");
        self.discard(session, None).await
    }

    async fn sweep_known(
        &self,
        known: &KnownSession,
        is_at_rest: &(dyn Fn(i64) -> bool + Sync),
    ) -> Result<(), Failure> {
        let Some(row) = &known.sandbox else { return self.note_found(known).await };
        if !self.is_superfluous(row) || !is_at_rest(known.key) {
            return Ok(());
        }
        let seat = self.seats.seat(&known.id, self.clock.now());
        let _gate = seat.gate.lock().await;
        if !seat.shut() {
            return Ok(());
        }
        let row = self.store.sandbox(known.key).await?;
        if row.is_some_and(|row| self.is_superfluous(&row)) {
            self.clear(&known.id).await?;
        }
        Ok(())
    }

    /// Whether the files here are older than others, or stay here only to save a restore, and long enough by now.
    fn is_superfluous(&self, row: &SandboxRecord) -> bool {
        if row.node != self.life.node {
            return true;
        }
        let until = |checkpoint: &store::Checkpoint| checkpoint.made_at.plus_millis(self.life.files_kept_ms);
        !row.is_changed
            && row.checkpoint.as_ref().is_some_and(|checkpoint| until(checkpoint) <= self.clock.now())
    }

    /// A server died after it had made a sandbox and before it had noted that.
    async fn note_found(&self, known: &KnownSession) -> Result<(), Failure> {
        let Some(session) = self.store.session_by_key(known.key).await? else { return Ok(()) };
        let Extra { environment, .. } = serde_json::from_str(&session.extra).unwrap_or_default();
        // A sweep waits for no build: the next call does.
        let root = self.environments.planned_root(&environment)?;
        self.store.note_sandbox(&self.new_row(known.key, &root)).await?;
        Ok(())
    }

    async fn end_expired(&self, is_at_rest: &(dyn Fn(i64) -> bool + Sync)) -> Result<(), Failure> {
        let now = self.clock.now();
        let long_ago = now.plus_millis(-limits::EXPIRED_ELSEWHERE_MS);
        let expired =
            self.store.expired_sandboxes(&self.life.node, now, long_ago, limits::EXPIRED_LISTED_MAX);
        for known in expired.await? {
            let Some(row) = known.sandbox.filter(|_| is_at_rest(known.key)) else { continue };
            let seat = self.seats.seat(&known.id, now);
            let _gate = seat.gate.lock().await;
            if !seat.shut() {
                continue;
            }
            if let Err(error) = self.expire(&seat, &row).await {
                let (session, error) = (&known.id, chain(&error));
                tracing::warn!(session.id = %session, error, "end the expired sandbox of session {session} failed; trying again");
            }
        }
        Ok(())
    }

    /// Ends a sandbox for good: first its files, so that a crash does not leave any that nobody has noted; then the row;
    /// then the checkpoint, which nothing names by then.
    pub(super) async fn expire(&self, seat: &Seat, row: &SandboxRecord) -> Result<(), Failure> {
        if row.node == self.life.node || self.here().await?.has(&seat.session) {
            self.clear(&seat.session).await?;
        }
        if self.store.forget_sandbox(row).await? {
            self.remove_checkpoints(&seat.session).await?;
        }
        Ok(())
    }

    /// Removes all there is of a session that has ended.
    pub(crate) async fn discard(&self, session: &SessionId, key: Option<i64>) -> Result<(), Failure> {
        let seat = self.seats.seat(session, self.clock.now());
        let _gate = seat.gate.lock().await;
        seat.shut();
        self.clear(session).await?;
        if let Some(key) = key
            && let Some(row) = self.store.sandbox(key).await?
        {
            self.store.forget_sandbox(&row).await?;
        }
        self.remove_checkpoints(session).await?;
        self.seats.remove(session);
        Ok(())
    }

    async fn remove_checkpoints(&self, session: &SessionId) -> Result<(), Failure> {
        let Some(blobs) = &self.life.blobs else { return Ok(()) };
        let mut found = blobs.list(&format!("{CHECKPOINTS}/{session}"));
        while let Some(blob) = found.next().await {
            blobs.delete(&blob?.key).await?;
        }
        Ok(())
    }

    /// Removes layers of packages that nobody has wanted for long and of images that are gone, where no files stand on them.
    pub(super) async fn sweep_layers(&self) -> Result<(), Failure> {
        let in_use = layers_in_use(&self.store).await?;
        Ok(self.environments.collect(&in_use).await?)
    }

    /// Removes checkpoints that no row names: those of crashes between a blob and its row. Any number of nodes may do so
    /// at once.
    pub(super) async fn sweep_blobs(&self) -> Result<(), Failure> {
        let Some(blobs) = &self.life.blobs else { return Ok(()) };
        let until = self.clock.now().plus_millis(-limits::UNNAMED_BLOB_MS);
        let mut found = blobs.list(CHECKPOINTS).chunks(limits::BLOBS_LOOKED_UP_MAX);
        while let Some(some) = found.next().await {
            let mut keys = Vec::new();
            for blob in some {
                let blob = blob?;
                // A younger one may be about to be named.
                if blob.stored_at <= until {
                    keys.push(blob.key);
                }
            }
            let named: HashSet<String> = self.store.checkpoints_known(&keys).await?.into_iter().collect();
            for key in keys.iter().filter(|key| !named.contains(*key)) {
                tracing::info!(key, "remove checkpoint {key}, which belongs to no sandbox");
                blobs.delete(key).await?;
            }
        }
        blobs.tidy(limits::UNFINISHED_BLOB_AGE).await?;
        Ok(())
    }
}

/// The layers on which files of sessions stand, wherever they are: in a sandbox that runs, on the disk of a node, or in a
/// checkpoint. A session that rests needs them as much as one that runs, and neither outlives its row.
pub async fn layers_in_use(store: &Store) -> Result<BTreeSet<LayerName>, store::Error> {
    let mut layers = BTreeSet::new();
    for text in store.sandbox_roots().await? {
        // What cannot be read may stand on anything.
        let Ok(root) = serde_json::from_str::<Root>(&text) else {
            return Err(store::Error::Corrupt { what: "root of a sandbox", value: text });
        };
        layers.extend(root.layers);
    }
    Ok(layers)
}
