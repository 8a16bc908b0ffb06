//! The shell around the brain: one driver task per running session.
//!
//! A driver owns the session's lease. It folds the log, writes what the brain wants written, performs effects, and
//! goes away when the session is at rest. It never decides. Whatever goes wrong with it (the store is gone, the lease
//! was lost, a bug), it stops, and a new driver takes the session up from the log.

mod ask;
mod driver;
mod hands;
mod journal;
mod rested;
mod sandbox_calls;
mod sweep;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::PoisonError;

use futures_util::FutureExt;
use store::Lease;
use tokio::sync::Notify;

use crate::Inner;
use crate::limits;
use crate::telemetry;

pub(crate) use hands::Hands;
pub(crate) use rested::Resting;
pub(crate) use sweep::sweep;

/// Place of a driver in the table of running sessions.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// New entries of clients are in the log.
    news: Arc<Notify>,
    /// The newest lease that this node has of the session.
    epoch: i64,
}

/// Tells the session's driver that there is something new, and starts one when there is none.
///
/// `lease` is who holds the session now; when it is another node, that node's sweep finds the news.
pub(crate) fn wake(inner: &Arc<Inner>, key: i64, lease: Option<Lease>) {
    let Some(Lease { node, epoch }) = lease else {
        return;
    };
    if node != inner.parts.node {
        return;
    }
    let mut drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seat) = drivers.get_mut(&key) {
        // A newer lease than the driver's means that it has let go already; it sees this when it leaves.
        seat.epoch = seat.epoch.max(epoch);
        seat.news.notify_one();
        return;
    }
    let news = Arc::new(Notify::new());
    drivers.insert(key, Seat { news: Arc::clone(&news), epoch });
    drop(drivers);
    let held = Arc::clone(inner);
    drop(inner.tasks.spawn("drive session", sit(held, key, epoch, news)));
}

/// Drives until the session is at rest and this node has no newer lease of it.
async fn sit(inner: Arc<Inner>, key: i64, mut epoch: i64, news: Arc<Notify>) {
    let mut panics = 0;
    loop {
        let must_park = panics >= limits::PANICS_MAX;
        let drive = driver::drive(Arc::clone(&inner), key, epoch, Arc::clone(&news), must_park);
        let driven = AssertUnwindSafe(drive).catch_unwind().await;
        panics = if driven.is_err() { panics + 1 } else { 0 };
        if !ended(key, driven) {
            tokio::time::sleep(limits::DRIVER_PAUSE).await;
            continue;
        }
        match leave_seat(&inner, key, epoch) {
            Some(newer) => epoch = newer,
            None => return,
        }
    }
}

/// Whether the driver left nothing to do for this node.
fn ended(key: i64, driven: std::thread::Result<Result<(), store::Error>>) -> bool {
    match driven {
        // A session that was deleted leaves nothing to do either.
        Ok(Ok(()) | Err(store::Error::NotFound { .. })) => true,
        Ok(Err(store::Error::Fenced { .. })) => {
            telemetry::count_lost_lease();
            tracing::warn!("session {key} was taken over by another server");
            true
        }
        Ok(Err(error)) => {
            tracing::error!(error = %error, "drive session {key} failed; trying again");
            false
        }
        Err(_) => {
            tracing::error!("the driver of session {key} panicked; trying again");
            false
        }
    }
}

/// Gives the seat up, unless this node took the session again after the driver had let go of it: then the new lease.
fn leave_seat(inner: &Inner, key: i64, epoch: i64) -> Option<i64> {
    let mut drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    let newer = drivers.get(&key).map(|seat| seat.epoch).filter(|newest| *newest > epoch);
    if newer.is_none() {
        drivers.remove(&key);
    }
    newer
}
