//! Looking up names.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::limits::RESOLVE_TIME_MAX;
use crate::limits::RESOLVED_AGE_MAX;
use crate::limits::RESOLVED_MAX;
use crate::limits::RESOLVES_MAX;
use crate::policy::Hostname;
use crate::sys;

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no addresses.
    #[error("the name does not exist")]
    NotFound,
    /// It could not be found out.
    #[error("look up the name: {0}")]
    Failed(String),
    /// It could not be found out in time.
    #[error("looking up the name took too long")]
    TimedOut,
}

/// Finds the addresses of names. Real in production; a table in tests.
#[async_trait::async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All addresses of a name, at least one.
    async fn resolve(&self, name: &Hostname) -> Result<Vec<IpAddr>, ResolveError>;
}

/// The resolver that the system is configured with.
#[derive(Debug)]
pub struct System {
    permits: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(RESOLVES_MAX)) }
    }
}

#[async_trait::async_trait]
impl Resolve for System {
    async fn resolve(&self, name: &Hostname) -> Result<Vec<IpAddr>, ResolveError> {
        // The dot keeps the resolver from trying the name below the host's own domains.
        let absolute = format!("{name}.");
        let lookup = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                // Given back when the resolver has answered, not when nobody waits for it any longer.
                let _permit = permit;
                sys::resolve(&absolute)
            });
            work.await.map_err(|error| ResolveError::Failed(error.to_string()))
        };
        let answer = tokio::time::timeout(RESOLVE_TIME_MAX, lookup).await;
        let addresses = answer.map_err(|_| ResolveError::TimedOut)??;
        let addresses = addresses.map_err(|error| ResolveError::Failed(error.to_string()))?;
        if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
    }
}

/// Addresses found lately, so that the question of the sandbox's DNS and the connections that follow need one lookup.
#[derive(Debug)]
pub(crate) struct Cache {
    resolver: Arc<dyn Resolve>,
    known: Mutex<HashMap<Hostname, Found>>,
}

/// Addresses, and when they were found.
type Found = (Instant, Arc<[IpAddr]>);

impl Cache {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, known: Mutex::default() }
    }

    /// The addresses of a name.
    pub(crate) async fn resolve(&self, name: &Hostname) -> Result<Arc<[IpAddr]>, ResolveError> {
        if let Some(addresses) = self.find(name) {
            return Ok(addresses);
        }
        let addresses: Arc<[IpAddr]> = self.resolver.resolve(name).await?.into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= RESOLVED_MAX {
            known.clear();
        }
        known.insert(name.clone(), (Instant::now(), Arc::clone(&addresses)));
        Ok(addresses)
    }

    fn find(&self, name: &Hostname) -> Option<Arc<[IpAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, addresses) = known.get(name)?;
        (at.elapsed() < RESOLVED_AGE_MAX).then(|| Arc::clone(addresses))
    }
}
