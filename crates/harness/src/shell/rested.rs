//! States of sessions that came to rest lately, so that the next turn need not fold the whole log again.
//!
//! Only a cache: a state is the fold of the log up to its head, and the log only grows, so what was appended since by
//! anybody is applied on top. Bounded in number and in bytes; the one that rested longest goes first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use api::environments::SessionEnvironment;
use api::ids::SessionId;
use api::ids::ThreadId;

use crate::brain::State;
use crate::limits;

/// A session at rest.
pub(crate) struct Rested {
    pub(crate) key: i64,
    pub(crate) session: SessionId,
    pub(crate) thread: ThreadId,
    pub(crate) environment: Arc<SessionEnvironment>,
    pub(crate) state: State,
    /// The last entry that the state knows.
    pub(crate) head: i64,
}

/// Sessions at rest, the longest rested first.
#[derive(Default)]
pub(crate) struct Resting(Mutex<VecDeque<(usize, Rested)>>);

impl Resting {
    /// Takes a session's state out.
    pub(crate) fn take(&self, key: i64) -> Option<Rested> {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = resting.iter().position(|(_, rested)| rested.key == key)?;
        resting.remove(place).map(|(_, rested)| rested)
    }

    /// Keeps a session's state, and forgets others when there are too many.
    pub(crate) fn put(&self, rested: Rested) {
        let bytes = rested.state.bytes();
        if bytes > limits::RESTED_BYTES_MAX {
            return;
        }
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.push_back((bytes, rested));
        let mut total: usize = resting.iter().map(|(bytes, _)| bytes).sum();
        while resting.len() > limits::RESTED_MAX || total > limits::RESTED_BYTES_MAX {
            let Some((bytes, _)) = resting.pop_front() else { return };
            total -= bytes;
        }
    }
}
