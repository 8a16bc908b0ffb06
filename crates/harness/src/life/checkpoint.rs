//! From the disk to the blob store.

use std::sync::Arc;

use api::time::Timestamp;
use bytes::Bytes;
use sandbox::Chunk;
use sandbox::LayerReader;
use store::Blob;
use store::BlobWriter;
use store::Blobs;
use store::Checkpoint;
use tokio::time::Instant;

use super::Failure;
use super::Seat;
use super::restore::after_workers;
use super::telemetry;
use crate::crash;
use crate::error::chain;
use crate::limits;
use crate::shell::Hands;

/// Folder of a session's checkpoints in the blob store.
pub(super) const CHECKPOINTS: &str = "checkpoints";

impl Hands {
    /// Checkpoints every sandbox of this node that has ended and has changed, one after the other, so that a restore
    /// never waits for more than one of them. What fails is left out for a while.
    pub(super) async fn checkpoint_ended(
        &self,
        is_at_rest: &(dyn Fn(i64) -> bool + Sync),
    ) -> Result<(), Failure> {
        if self.life.blobs.is_none() {
            return Ok(());
        }
        let here = self.here().await?;
        let mut after = 0;
        loop {
            let changed =
                self.store.changed_sandboxes(&self.life.node, after, limits::CHECKPOINTS_LISTED_MAX).await?;
            let Some(last) = changed.last().map(|known| known.key) else { return Ok(()) };
            after = last;
            // Only what runs has a cause to wait, and the back end knows best what runs.
            let running = self.backend.list().await?;
            for known in changed {
                if running.contains(&known.id) || !here.has(&known.id) || !is_at_rest(known.key) {
                    continue;
                }
                let seat = self.seats.seat(&known.id, self.clock.now());
                if seat.facts().retry_at > self.clock.now() {
                    continue;
                }
                let result = self.checkpoint(&seat, known.key).await;
                note_result(&seat, self.clock.now(), result);
            }
        }
    }

    /// Makes a checkpoint, unless a call is under way or comes meanwhile, or there is nothing to be saved.
    pub(super) async fn checkpoint(&self, seat: &Seat, key: i64) -> Result<(), Failure> {
        let Some(blobs) = &self.life.blobs else { return Ok(()) };
        let _permit = self.permits.acquire().await;
        // Not waited for: whoever has it may wait for a permit.
        let Ok(_gate) = seat.gate.try_lock() else { return Ok(()) };
        let called = seat.called.notified();
        tokio::pin!(called);
        called.as_mut().enable();
        if !seat.shut() {
            return Ok(());
        }
        let row = self.store.sandbox(key).await?;
        let Some(row) = row.filter(|row| row.node == self.life.node && row.is_changed) else { return Ok(()) };
        if !self.here().await?.has(&seat.session) {
            return Ok(());
        }
        crash::point(self.crash.as_ref(), "before_checkpoint");
        let begun = Instant::now();
        let number = row.number + 1;
        // Not the number alone: a node that was taken for dead may be at the same one.
        let unique = self.ids.below(u64::MAX);
        let blob = format!("{CHECKPOINTS}/{}/{number}-{unique:016x}", seat.session);
        let stored = tokio::select! {
            stored = self.store_files(blobs, seat, &blob) => stored?,
            () = called => {
                tracing::debug!(session.id = %seat.session, "gave a checkpoint of session {} up for a call", seat.session);
                return Ok(());
            }
        };
        telemetry::count_checkpoint(begun.elapsed(), stored.bytes);
        let made_at = self.clock.now();
        let bytes = i64::try_from(stored.bytes).unwrap_or(i64::MAX);
        let checkpoint = Checkpoint { key: blob.clone(), sha256: stored.sha256, bytes, made_at };
        let is_noted = self.store.note_checkpoint(&row, &checkpoint).await?;
        crash::point(self.crash.as_ref(), "after_checkpoint");
        // The other one is named by nobody now. What is not removed here is found by the sweep.
        let superfluous = if is_noted { row.checkpoint.map(|former| former.key) } else { Some(blob) };
        if let Some(superfluous) = superfluous {
            blobs.delete(&superfluous).await?;
        }
        Ok(())
    }

    async fn store_files(&self, blobs: &Blobs, seat: &Seat, key: &str) -> Result<Blob, Failure> {
        // First what is likelier to fail.
        let mut writer = blobs.put(key).await?;
        let may_wait = self.may_meet_worker(seat);
        // Also when all is well: the worker is gone a moment after its last word.
        seat.facts().is_restless = true;
        let mut reader = after_workers(may_wait, || self.backend.pack(&seat.session)).await?;
        copy(&mut reader, &mut writer).await?;
        crash::point(self.crash.as_ref(), "after_pack");
        let blob = writer.finish().await?;
        crash::point(self.crash.as_ref(), "after_blob");
        Ok(blob)
    }
}

async fn copy(reader: &mut LayerReader, writer: &mut BlobWriter) -> Result<(), Failure> {
    loop {
        match reader.next().await? {
            Chunk::Bytes(bytes) => writer.write(Bytes::from(bytes)).await?,
            Chunk::End(_) => return Ok(()),
        }
    }
}

/// The first of several failures is told; each makes the pause before the next try longer.
fn note_result(seat: &Arc<Seat>, now: Timestamp, result: Result<(), Failure>) {
    let mut facts = seat.facts();
    match result {
        Ok(()) => facts.failures = 0,
        Err(error) => {
            if facts.failures == 0 {
                let (session, error) = (&seat.session, chain(&error));
                tracing::warn!(
                    session.id = %session,
                    error,
                    "checkpoint the sandbox of session {session} failed; trying again, its files stay"
                );
            }
            let pause = limits::CHECKPOINT_PAUSE_MS << facts.failures.min(6);
            facts.failures = facts.failures.saturating_add(1);
            facts.retry_at = now.plus_millis(pause);
        }
    }
}
