//! What happens to a sandbox that nobody uses: it is frozen, and later it is ended. Its files stay.

use std::sync::Arc;

use sandbox::Adopted;
use sandbox::Error;

use super::Failure;
use super::Seat;
use super::telemetry;
use crate::limits;
use crate::shell::Hands;

impl Hands {
    /// Freezes and ends what has idled for long enough, of sessions that rest.
    pub(super) async fn rest_idle(&self, is_at_rest: &(dyn Fn(i64) -> bool + Sync)) -> Result<(), Failure> {
        self.discover().await?;
        let alive = self.seats.with(|facts| facts.is_running);
        let frozen = alive.iter().filter(|seat| seat.facts().frozen == Some(true)).count();
        telemetry::show_sandboxes(alive.len().saturating_sub(frozen), frozen);
        let now = self.clock.now();
        let (freeze, end) = (now.plus_millis(-self.life.freeze_after_ms), now.plus_millis(-self.idle_max_ms));
        let idle = self.seats.with(|facts| {
            facts.calls == 0
                && facts.is_running
                && facts.last <= freeze.max(end)
                && facts.key.is_some_and(is_at_rest)
        });
        for seat in idle {
            let (last, frozen) = {
                let facts = seat.facts();
                (facts.last, facts.frozen)
            };
            if last <= end {
                if self.end_seat(&seat).await? {
                    telemetry::count_ended(false);
                }
            } else if last <= freeze && frozen.is_none() {
                self.freeze(&seat).await?;
            }
        }
        Ok(())
    }

    /// Ends the sandbox that was out of use for the longest time, to make room. False when all are in use.
    pub(crate) async fn end_longest_idle(&self) -> Result<bool, Failure> {
        self.discover().await?;
        let mut idle = self.seats.with(|facts| facts.calls == 0 && facts.is_running && facts.key.is_some());
        idle.sort_by_cached_key(|seat| seat.facts().last);
        for seat in idle {
            if self.end_seat(&seat).await? {
                telemetry::count_ended(true);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stops the processes of a sandbox. A call that comes meanwhile waits for the moment that it takes.
    async fn freeze(&self, seat: &Seat) -> Result<(), Failure> {
        let Ok(_gate) = seat.gate.try_lock() else { return Ok(()) };
        let was_ready = seat.facts().is_ready;
        if !seat.shut() {
            return Ok(());
        }
        let is_frozen = self.backend.freeze(&seat.session).await;
        let mut facts = seat.facts();
        facts.is_ready = was_ready;
        facts.frozen = Some(is_frozen?);
        Ok(())
    }

    /// Ends a sandbox that nobody uses, after its shells have saved themselves into its files. False when it is in use.
    pub(super) async fn end_seat(&self, seat: &Arc<Seat>) -> Result<bool, Error> {
        let _gate = seat.gate.lock().await;
        if !seat.shut() {
            return Ok(false);
        }
        let rest = async {
            // Lets it thaw, too.
            let Adopted { sandbox, sole_since: _ } = self.backend.adopt(&seat.session).await?;
            match sandbox {
                Some(sandbox) => sandbox.rest().await,
                None => Ok(()),
            }
        };
        let session = &seat.session;
        match tokio::time::timeout(limits::REST_MAX, rest).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(session.id = %session, error = %error, "put the shells of session {session} to rest failed");
            }
            Err(_) => {
                tracing::warn!(session.id = %session, "the shells of session {session} took too long to rest");
            }
        }
        self.backend.destroy(session, true).await?;
        {
            let mut facts = seat.facts();
            facts.is_running = false;
            facts.frozen = None;
        }
        self.ended.notify_one();
        Ok(true)
    }

    /// Sandboxes that an earlier server left begin to idle now; those that are gone are noted.
    async fn discover(&self) -> Result<(), Failure> {
        let running = self.backend.list().await?;
        let now = self.clock.now();
        for gone in self.seats.with(|facts| facts.is_running && facts.calls == 0) {
            if !running.contains(&gone.session) {
                let mut facts = gone.facts();
                facts.is_running = false;
                facts.frozen = None;
            }
        }
        let mut unknown = Vec::new();
        for session in running {
            let seat = self.seats.seat(&session, now);
            let mut facts = seat.facts();
            facts.is_running = true;
            if facts.key.is_none() {
                unknown.push(session);
            }
        }
        for known in self.store.sandbox_sessions_known(&unknown).await? {
            if let Some(seat) = self.seats.find(&known.id) {
                seat.facts().key = Some(known.key);
            }
        }
        Ok(())
    }
}
