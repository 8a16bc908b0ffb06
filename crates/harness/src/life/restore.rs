//! From the blob store back to the disk.

use std::sync::PoisonError;
use std::time::Duration;

use sandbox::LayerWriter;
use sandbox::Limits;
use sandbox::Place;
use store::Checkpoint;
use store::SandboxRecord;
use tokio::time::Instant;

use super::Failure;
use super::Seat;
use super::telemetry;
use crate::crash;
use crate::limits;
use crate::shell::Hands;

impl Hands {
    /// Puts the files of a checkpoint in the place of any that are here, and takes the sandbox. False when another node
    /// was faster. A checkpoint that is damaged is never taken for lost: somebody may still have it whole.
    pub(super) async fn restore(
        &self,
        seat: &Seat,
        row: &SandboxRecord,
        checkpoint: &Checkpoint,
        is_behind: bool,
        limits: Limits,
    ) -> Result<bool, Failure> {
        let session = &seat.session;
        let Some(blobs) = &self.life.blobs else {
            return Err(Failure::NoBlobs { session: session.clone() });
        };
        let _permit = self.permits.acquire().await;
        let mut reader = match blobs.get(&checkpoint.key).await {
            Err(error) if error.is_missing => {
                tracing::error!(session.id = %session, error = %error, "the checkpoint of session {session} is gone");
                return self.begin_afresh(seat, row, true).await;
            }
            other => other?,
        };
        let begun = Instant::now();
        self.clear(session).await?;
        crash::point(self.crash.as_ref(), "before_restore");
        let mut writer = self.begin_unpacking(seat, limits).await?;
        while let Some(bytes) = reader.next().await? {
            writer.write(&bytes).await?;
        }
        if reader.sha256() != checkpoint.sha256 {
            // Dropped before its end, the writer leaves nothing.
            return Err(Failure::Damaged { session: session.clone(), key: checkpoint.key.clone() });
        }
        let unpacked = writer.finish().await?;
        telemetry::count_restore(begun.elapsed());
        seat.facts().is_restless = false;
        self.here().await?.add(session);
        crash::point(self.crash.as_ref(), "after_restore");
        tracing::info!(session.id = %session, bytes = unpacked.bytes, "restored the files of session {session}");
        if is_behind {
            seat.facts().notice = Some(format!(
                "The sandbox was restored as it was at {}; what was done in it after that is lost.",
                checkpoint.made_at
            ));
        }
        Ok(self.store.take_sandbox(row, &self.life.node).await?)
    }

    /// Begins to unpack, once no worker is at the files any more.
    async fn begin_unpacking(&self, seat: &Seat, limits: Limits) -> Result<LayerWriter, Failure> {
        let place = Place::Files { session: seat.session.clone(), limits };
        let may_wait = self.may_meet_worker(seat);
        seat.facts().is_restless = true;
        Ok(after_workers(may_wait, || self.backend.unpack(&place)).await?)
    }

    /// Whether what this process believes of a seat can be trusted: another node takes a sandbox without our help only
    /// after we have not answered for longer than this.
    pub(crate) fn is_in_touch(&self) -> bool {
        let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        asked_at.is_some_and(|at| at.elapsed() < limits::TRUST_MAX)
    }
}

/// What a back end does when no worker is at the files of a session any more.
pub(super) async fn after_workers<T, F: Future<Output = Result<T, sandbox::Error>>>(
    may_wait: bool,
    work: impl Fn() -> F,
) -> Result<T, sandbox::Error> {
    for _ in 0..limits::WORKER_ENDS_MAX {
        match work().await {
            Err(sandbox::Error::Layer { .. }) if may_wait => {
                tokio::time::sleep(limits::WORKER_END_PAUSE).await;
            }
            other => return other,
        }
    }
    work().await
}

const _: () = assert!(
    limits::TRUST_MAX.as_millis() + Duration::from_secs(5).as_millis() < limits::HANDOVER_MAX.as_millis(),
    "nobody takes what somebody still trusts to have"
);
