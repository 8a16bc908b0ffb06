//! The shell around the brain: one driver task per running session.
//!
//! A driver owns the session's lease. It folds the log, writes what the brain wants written, performs effects, and
//! goes away when the session is at rest. It never decides. Whatever goes wrong with it (the store is gone, the lease
//! was lost, a bug), it stops, and a new driver takes the session up from the log.

mod act;
mod ask;
mod driver;
mod journal;
mod sweep;

use std::sync::Arc;
use std::sync::PoisonError;

use store::Lease;
use tokio::sync::Notify;

use crate::Inner;
use crate::limits;

pub(crate) use sweep::sweep;

/// Place of a driver in the table of running sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// New entries of clients are in the log.
    news: Arc<Notify>,
    /// Lease of the driver that sits here, for renewal.
    epoch: i64,
    /// Somebody woke this seat since its driver last looked.
    is_woken: bool,
}

/// Tells the session's driver that there is something new, and starts one when there is none.
///
/// `lease` is who holds the session now; when it is another node, that node's sweep finds the news.
pub(crate) fn wake(inner: &Arc<Inner>, key: i64, lease: Option<Lease>) {
    let Some(lease) = lease else { return };
    if lease.node != inner.parts.node {
        return;
    }
    let mut drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seat) = drivers.get_mut(&key) {
        seat.is_woken = true;
        seat.news.notify_one();
        return;
    }
    let seat = Seat {
        news: Arc::default(),
        epoch: lease.epoch,
        is_woken: false,
    };
    let news = Arc::clone(&seat.news);
    drivers.insert(key, seat);
    drop(drivers);
    let held = Arc::clone(inner);
    drop(
        inner
            .tasks
            .spawn("drive session", sit(held, key, lease.epoch, news)),
    );
}

/// Drives until the session is at rest and nobody woke the seat meanwhile.
async fn sit(inner: Arc<Inner>, key: i64, epoch: i64, news: Arc<Notify>) {
    let mut epoch = Some(epoch);
    let mut panics = 0;
    loop {
        let lease = match epoch.take() {
            Some(epoch) => Ok(Some(epoch)),
            None => inner
                .parts
                .store
                .claim(key, &inner.claim())
                .await
                .map(|lease| lease.map(|lease| lease.epoch)),
        };
        let is_rested = match lease {
            Ok(Some(epoch)) => {
                take_seat(&inner, key, epoch);
                let must_park = panics >= limits::PANICS_MAX;
                let future = driver::drive(Arc::clone(&inner), key, epoch, Arc::clone(&news), must_park);
                let driven =
                    futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(future)).await;
                panics = if driven.is_err() { panics + 1 } else { 0 };
                ended(key, driven)
            }
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(error = %error, "claim session {key} failed; trying again");
                false
            }
        };
        if is_rested && leave_seat(&inner, key) {
            return;
        }
        if !is_rested {
            tokio::time::sleep(limits::DRIVER_PAUSE).await;
        }
    }
}

/// Whether the driver left nothing to do for this node.
fn ended(key: i64, driven: std::thread::Result<Result<(), store::Error>>) -> bool {
    match driven {
        Ok(Ok(())) => true,
        Ok(Err(store::Error::Fenced { .. })) => {
            tracing::warn!("session {key} was taken over by another server");
            true
        }
        Ok(Err(store::Error::NotFound { .. })) => true,
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

fn take_seat(inner: &Inner, key: i64, epoch: i64) {
    let mut drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    let seat = drivers.entry(key).or_default();
    seat.epoch = epoch;
    seat.is_woken = false;
}

/// Gives the seat up, unless somebody woke it after the driver had let go of the lease.
fn leave_seat(inner: &Inner, key: i64) -> bool {
    let mut drivers = inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
    let is_woken = drivers.get(&key).is_some_and(|seat| seat.is_woken);
    if !is_woken {
        drivers.remove(&key);
    }
    !is_woken
}
