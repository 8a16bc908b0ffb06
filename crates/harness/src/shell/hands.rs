//! The sandboxes of this server: which are in use, and which have idled long enough to be ended.
//!
//! Files stay when a sandbox is ended here; the next call gets a new one over them. One that is in use is never ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::ids::SessionId;
use api::time::Clock;
use api::time::Timestamp;
use sandbox::Backend;
use sandbox::Error;
use sandbox::Sandbox;
use tokio::sync::RwLock;

use crate::environments::Environments;
use crate::environments::Wanted;
use crate::limits;

/// The back end with an eye on what is in use.
pub(crate) struct Hands {
    pub(crate) backend: Arc<dyn Backend>,
    environments: Environments,
    clock: Clock,
    idle_max_ms: i64,
    uses: Mutex<HashMap<SessionId, Use>>,
    /// Held for writing while sandboxes are ended, so that no call begins in one that is about to die.
    door: RwLock<()>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    calls: usize,
    last: Timestamp,
}

/// A sandbox in use. Dropping it lets the sandbox idle.
pub(crate) struct Held<'a> {
    hands: &'a Hands,
    session: SessionId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let now = self.hands.clock.now();
        if let Some(used) = self.hands.uses().get_mut(&self.session) {
            used.calls -= 1;
            used.last = now;
        }
    }
}

impl Hands {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        environments: Environments,
        clock: Clock,
        idle_max_ms: i64,
    ) -> Self {
        Self { backend, environments, clock, idle_max_ms, uses: Mutex::default(), door: RwLock::default() }
    }

    /// The session's sandbox, in use until the guard is dropped. When there are too many, the one that idled longest goes.
    pub(crate) async fn provision(&self, wanted: &Wanted) -> Result<(Arc<dyn Sandbox>, Held<'_>), Error> {
        let spec = &self.environments.resolve(wanted).await?;
        for _ in 0..limits::EVICTIONS_MAX {
            let held = self.hold(&spec.session).await;
            match self.backend.provision(spec).await {
                Err(Error::Full { .. }) => drop(held),
                other => return other.map(|sandbox| (sandbox, held)),
            }
            if !self.end_longest_idle().await? {
                break;
            }
        }
        let held = self.hold(&spec.session).await;
        self.backend.provision(spec).await.map(|sandbox| (sandbox, held))
    }

    async fn hold(&self, session: &SessionId) -> Held<'_> {
        let _open = self.door.read().await;
        let last = self.clock.now();
        self.uses().entry(session.clone()).or_insert(Use { calls: 0, last }).calls += 1;
        Held { hands: self, session: session.clone() }
    }

    /// Ends what has idled for too long.
    pub(crate) async fn end_idle(&self) -> Result<(), Error> {
        self.discover().await?;
        let since = self.clock.now().plus_millis(-self.idle_max_ms);
        let _shut = self.door.write().await;
        let idle: Vec<SessionId> = {
            let uses = self.uses();
            let idle = uses.iter().filter(|(_, used)| used.calls == 0 && used.last <= since);
            idle.map(|(session, _)| session.clone()).collect()
        };
        for session in idle {
            self.end(&session).await?;
        }
        Ok(())
    }

    async fn end_longest_idle(&self) -> Result<bool, Error> {
        self.discover().await?;
        let _shut = self.door.write().await;
        let longest = {
            let uses = self.uses();
            let idle = uses.iter().filter(|(_, used)| used.calls == 0);
            idle.min_by_key(|(_, used)| used.last).map(|(session, _)| session.clone())
        };
        match longest {
            Some(session) => self.end(&session).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn end(&self, session: &SessionId) -> Result<(), Error> {
        self.backend.destroy(session, true).await?;
        self.uses().remove(session);
        Ok(())
    }

    /// Sandboxes that an earlier server left begin to idle now; those that are gone are forgotten.
    async fn discover(&self) -> Result<(), Error> {
        let running = self.backend.list().await?;
        let last = self.clock.now();
        let mut uses = self.uses();
        uses.retain(|session, used| used.calls > 0 || running.contains(session));
        for session in running {
            uses.entry(session).or_insert(Use { calls: 0, last });
        }
        Ok(())
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<SessionId, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
