//! Bounds per host: how many requests are under way at once, and how many begin in a second. One user's tight loop
//! neither floods somebody else's server nor takes all connections of this one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use super::ClientError;
use crate::policy::Host;

/// Bounds per host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Requests under way at once, until the end of the response's body.
    pub concurrent_max: usize,
    /// Requests that begin in a second, over a long time.
    pub per_second_max: u32,
    /// Requests that may begin at once after a rest.
    pub burst_max: u32,
    /// Longest time a request waits for its turn.
    pub wait_max: Duration,
    /// Hosts that are remembered.
    pub hosts_max: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            concurrent_max: 64,
            per_second_max: 50,
            burst_max: 100,
            wait_max: Duration::from_secs(10),
            hosts_max: 4096,
        }
    }
}

/// The hosts with requests under way or lately.
#[derive(Debug)]
pub(super) struct Hosts {
    limits: HostLimits,
    table: Mutex<HashMap<Host, Entry>>,
}

#[derive(Debug)]
struct Entry {
    permits: Arc<Semaphore>,
    /// The time at which the host's requests so far would have begun, had they come evenly.
    begun_until: Instant,
}

impl Hosts {
    pub(super) fn new(limits: HostLimits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    /// Waits for the turn of a request to a host. The request is under way until the permit is dropped.
    pub(super) async fn enter(&self, host: &Host) -> Result<OwnedSemaphorePermit, ClientError> {
        let busy = |reason: String| ClientError::Busy { host: host.to_string(), reason };
        let HostLimits { concurrent_max, per_second_max, wait_max, .. } = self.limits;
        let (permits, wait) = self.reserve(host).map_err(|reason| busy(reason.to_owned()))?;
        if wait > wait_max {
            return Err(busy(format!("more than {per_second_max} a second")));
        }
        sleep(wait).await;
        match timeout(wait_max, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(busy(format!("{concurrent_max} are under way"))),
        }
    }

    /// The permits of a host, and how long a request has to wait for its turn. One that would wait too long takes no turn.
    fn reserve(&self, host: &Host) -> Result<(Arc<Semaphore>, Duration), &'static str> {
        let HostLimits { concurrent_max, per_second_max, burst_max, wait_max, hosts_max } = self.limits;
        let now = Instant::now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= hosts_max && !table.contains_key(host) {
            table.retain(|_, entry| entry.begun_until > now || Arc::strong_count(&entry.permits) > 1);
            if table.len() >= hosts_max {
                return Err("requests to too many other hosts are under way");
            }
        }
        let entry = table
            .entry(host.clone())
            .or_insert_with(|| Entry { permits: Arc::new(Semaphore::new(concurrent_max)), begun_until: now });
        let interval = Duration::from_secs(1) / per_second_max.max(1);
        let begins = entry.begun_until.max(now);
        let wait = begins.saturating_duration_since(now + interval * burst_max.saturating_sub(1));
        if wait <= wait_max {
            entry.begun_until = begins + interval;
        }
        Ok((Arc::clone(&entry.permits), wait))
    }
}
