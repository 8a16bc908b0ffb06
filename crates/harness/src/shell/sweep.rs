//! Keeps the leases of our drivers alive, and takes up sessions whose drivers died.

use std::sync::Arc;
use std::sync::PoisonError;

use store::Lease;
use tokio::time::MissedTickBehavior;

use super::wake;
use crate::Inner;
use crate::limits;
use crate::telemetry;

/// Runs until cancelled.
pub(crate) async fn sweep(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(limits::SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps = 0u32;
    loop {
        ticks.tick().await;
        if sweeps.is_multiple_of(limits::SWEEPS_PER_RENEWAL) {
            renew(&inner).await;
        }
        sweeps = sweeps.wrapping_add(1);
        take_up(&inner).await;
    }
}

async fn renew(inner: &Inner) {
    let held: Vec<(i64, i64)> = {
        let drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.iter().map(|(key, seat)| (*key, seat.epoch)).collect()
    };
    telemetry::show_leases(held.len());
    if held.is_empty() {
        return;
    }
    // A lost lease needs no action here: the driver's next append is refused, and it stops.
    if let Err(error) = inner.parts.store.renew(&held, limits::LEASE_TTL_MS).await {
        tracing::warn!(error = %error, "renew {} leases failed; trying again", held.len());
    }
}

async fn take_up(inner: &Arc<Inner>) {
    let abandoned = match inner.parts.store.claimable(limits::RESUMED_PER_SWEEP_MAX).await {
        Ok(abandoned) => abandoned,
        Err(error) => {
            tracing::warn!(error = %error, "look for abandoned sessions failed; trying again");
            return;
        }
    };
    telemetry::show_unheld(abandoned.len());
    for key in abandoned {
        match inner.parts.store.claim(key, &inner.claim()).await {
            Ok(Some(Lease { node, epoch })) => {
                telemetry::count_recovered();
                tracing::info!("take up session {key}");
                wake(inner, key, Some(Lease { node, epoch }));
            }
            // Somebody was faster.
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %error, "claim session {key} failed; trying again"),
        }
    }
}
