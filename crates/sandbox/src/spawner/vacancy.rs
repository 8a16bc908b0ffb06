//! Since when a session has had no other sandbox than the one it has now: the proof that a call which the present hand
//! does not know was never run anywhere.
//!
//! Ends are noted by the clock that counts from boot, which nobody can set, and told by the clock of the day, by which
//! the log is dated. When the distance of the two changes, somebody has set the clock, and nothing is proven any more
//! for as long as this spawner lives.

use std::collections::HashMap;
use std::time::Duration;

use api::ids::SessionId;
use api::time::Clock;
use api::time::Timestamp;

use crate::sys::process;

/// Ends that are remembered. Beyond, all are forgotten, and every proof begins at that moment.
const ENDS_MAX: usize = 10_000;
/// Two readings of a clock around a third that are further apart say nothing about the third.
const READING_MICROS_MAX: i64 = 2_000;
const READINGS_MAX: usize = 5;
/// A change of distance that is no error of reading.
const STEP_MICROS_MIN: i64 = 10_000;
/// By how much a proof may be dated too late.
const ROUNDING: Duration = Duration::from_micros((STEP_MICROS_MIN + READING_MICROS_MAX).unsigned_abs());

/// What is known of the ends of sandboxes.
#[derive(Debug)]
pub(super) struct Vacancies {
    clock: Clock,
    /// Time of day less time since boot, at the start.
    distance: Option<i64>,
    /// Nothing is known of what ended before this time since boot.
    floor: i64,
    ends: HashMap<SessionId, i64>,
}

impl Vacancies {
    /// Knows that nothing has run under this spawner yet, and that nothing outlived the one before it.
    pub(super) fn new(clock: Clock) -> Self {
        let distance = distance(&clock);
        Self { clock, distance, floor: process::since_boot_micros(), ends: HashMap::new() }
    }

    /// Returns once the proof covers every call that is wanted from now on, rounding included.
    pub(super) fn settled(self) -> Self {
        std::thread::sleep(ROUNDING);
        self
    }

    /// A sandbox of the session is no more.
    pub(super) fn ended(&mut self, session: &SessionId) {
        let now = process::since_boot_micros();
        if self.ends.len() >= ENDS_MAX {
            self.ends.clear();
            self.floor = now;
        }
        self.ends.insert(session.clone(), now);
    }

    /// Since when no other sandbox than the present one, if there is one, has run for the session. `None` without proof.
    pub(super) fn sole_since(&mut self, session: &SessionId) -> Option<Timestamp> {
        let now = distance(&self.clock)?;
        let then = self.distance?;
        if (now - then).abs() >= STEP_MICROS_MIN {
            self.distance = None;
            return None;
        }
        let since = self.ends.get(session).copied().unwrap_or(self.floor).max(self.floor);
        // Rounded up by what the distance may be off.
        Some(Timestamp(since + then + STEP_MICROS_MIN))
    }
}

/// Time of day less time since boot; `None` when the readings are too far apart.
fn distance(clock: &Clock) -> Option<i64> {
    (0..READINGS_MAX).find_map(|_| {
        let before = process::since_boot_micros();
        let day = clock.now().0;
        let after = process::since_boot_micros();
        (after - before <= READING_MICROS_MAX).then(|| day - before)
    })
}

#[cfg(test)]
mod tests {
    use api::ids::Ids;

    use super::*;

    #[test]
    fn a_proof_begins_with_the_last_end_and_is_gone_for_good_when_the_clock_is_set() {
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let session: SessionId = Ids::new(clock.clone()).make();
        // A clock that stands still is one that is set back all the time; readings are far closer than the step.
        let mut vacancies = Vacancies::new(clock.clone());
        let before = vacancies.sole_since(&session).unwrap();
        vacancies.ended(&session);
        assert!(vacancies.sole_since(&session).unwrap() >= before);
        clock.advance_millis(60_000);
        assert_eq!(vacancies.sole_since(&session), None);
        clock.advance_millis(-60_000);
        assert_eq!(vacancies.sole_since(&session), None);
    }
}
