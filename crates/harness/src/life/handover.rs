//! From node to node: the one that needs a session's files asks the one that has them, through the row, and that one
//! makes a checkpoint of them. When it does not answer, the last checkpoint has to do.

use std::sync::Arc;
use std::sync::PoisonError;

use store::SandboxRecord;
use tokio::time::Instant;

use super::Failure;
use crate::Inner;
use crate::error::chain;
use crate::limits;
use crate::shell::Hands;

/// Hands over what other nodes wait for.
pub(super) async fn answer(inner: &Arc<Inner>) {
    let hands = &inner.hands;
    let asked_at = Instant::now();
    let wanted = match hands.store.wanted_sandboxes(&hands.life.node, limits::HANDOVERS_MAX).await {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::warn!(error = %error, "look for sandboxes that other nodes wait for failed; trying again");
            return;
        }
    };
    *hands.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked_at);
    for known in wanted {
        let seat = hands.seats.seat(&known.id, hands.clock.now());
        if seat.gate.try_lock().is_err() {
            // Somebody is at it, perhaps this very thing.
            continue;
        }
        let held = Arc::clone(inner);
        drop(inner.tasks.spawn("hand a sandbox over", async move {
            let handed = async {
                held.hands.end_seat(&seat).await?;
                held.hands.checkpoint(&seat, known.key).await
            };
            if let Err(error) = handed.await {
                let (session, error) = (&known.id, chain(&error));
                tracing::warn!(session.id = %session, error, "hand the sandbox of session {session} over failed");
            }
        }));
    }
}

impl Hands {
    /// Asks the node that has the newest files for a checkpoint, and waits for it as long as is reasonable.
    pub(super) async fn ask(&self, row: &SandboxRecord) -> Result<(), Failure> {
        let begin = Instant::now();
        if !self.store.want_sandbox(row, &self.life.node).await? {
            return Ok(());
        }
        while begin.elapsed() < limits::HANDOVER_MAX {
            tokio::time::sleep(limits::HANDOVER_PAUSE).await;
            let now = self.store.sandbox(row.session).await?;
            if now.is_none_or(|now| !now.is_changed || now.node != row.node) {
                return Ok(());
            }
        }
        tracing::warn!(node = row.node, "node {} did not hand a sandbox over; going on without it", row.node);
        Ok(())
    }
}
