//! The table of calls: what runs, what has ended and waits to be acknowledged, what was acknowledged.
//!
//! A result stays until it is acknowledged, within [`RESULTS_MAX`] and [`RESULTS_BYTES_MAX`]. Beyond that the oldest
//! result's content gives way to a short error that says so, and beyond [`FORGOTTEN_MAX`] the oldest of those is
//! forgotten; the server acknowledges what it stores, so only one that never does gets there.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::limits::ACKNOWLEDGED_MAX;
use crate::limits::RESULTS_BYTES_MAX;
use crate::limits::RESULTS_MAX;
use crate::protocol::CallState;

/// Results whose content was dropped, by count.
const FORGOTTEN_MAX: usize = 10 * RESULTS_MAX;

/// The table.
#[derive(Default)]
pub(crate) struct Calls {
    running: HashSet<String>,
    finished: HashMap<String, Rc<[u8]>>,
    /// Finished calls with their content, oldest first.
    whole: VecDeque<Whole>,
    whole_bytes: usize,
    /// Finished calls whose content was dropped, oldest first.
    dropped: VecDeque<String>,
    acknowledged: HashSet<String>,
    acknowledged_order: VecDeque<String>,
}

/// A finished call with its content.
struct Whole {
    id: String,
    /// What stands in for the content once it is dropped.
    stub: Rc<[u8]>,
}

/// What the table says of a call that is to be executed.
pub(crate) enum Standing {
    /// Never seen.
    New,
    /// Running.
    Running,
    /// Ended, with this frame as its result.
    Finished(Rc<[u8]>),
    /// Ended, and its result was acknowledged.
    Acknowledged,
}

impl Calls {
    /// What is known of `id`.
    pub(crate) fn standing(&self, id: &str) -> Standing {
        if self.running.contains(id) {
            Standing::Running
        } else if let Some(frame) = self.finished.get(id) {
            Standing::Finished(Rc::clone(frame))
        } else if self.acknowledged.contains(id) {
            Standing::Acknowledged
        } else {
            Standing::New
        }
    }

    /// The state as it is told to a server.
    pub(crate) fn state(&self, id: &str) -> CallState {
        match self.standing(id) {
            Standing::Running => CallState::Running,
            Standing::Finished(_) => CallState::Finished,
            Standing::New | Standing::Acknowledged => CallState::Unknown,
        }
    }

    /// Notes that `id` runs.
    pub(crate) fn begin(&mut self, id: String) {
        self.running.insert(id);
    }

    /// Notes that `id` has ended with the result in `frame`; `stub` stands in for it once it is dropped.
    pub(crate) fn finish(&mut self, id: &str, frame: Rc<[u8]>, stub: Rc<[u8]>) {
        self.running.remove(id);
        self.whole_bytes += frame.len();
        self.finished.insert(id.to_owned(), frame);
        self.whole.push_back(Whole { id: id.to_owned(), stub });
        while self.whole.len() > RESULTS_MAX || self.whole_bytes > RESULTS_BYTES_MAX {
            let Some(Whole { id, stub }) = self.whole.pop_front() else { break };
            if let Some(frame) = self.finished.get_mut(&id) {
                self.whole_bytes -= frame.len();
                *frame = stub;
                self.dropped.push_back(id);
            }
        }
        while self.dropped.len() > FORGOTTEN_MAX {
            let Some(oldest) = self.dropped.pop_front() else { break };
            self.finished.remove(&oldest);
        }
    }

    /// Forgets the result of `id`.
    pub(crate) fn acknowledge(&mut self, id: &str) {
        let Some(frame) = self.finished.remove(id) else { return };
        if let Some(position) = self.whole.iter().position(|whole| whole.id == id) {
            self.whole.remove(position);
            self.whole_bytes -= frame.len();
        } else {
            self.dropped.retain(|dropped| dropped != id);
        }
        self.acknowledged.insert(id.to_owned());
        self.acknowledged_order.push_back(id.to_owned());
        if self.acknowledged_order.len() > ACKNOWLEDGED_MAX
            && let Some(oldest) = self.acknowledged_order.pop_front()
        {
            self.acknowledged.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Rc<[u8]> {
        vec![0; bytes].into()
    }

    #[test]
    fn results_over_the_bound_leave_a_stub_and_never_run_again() {
        let mut calls = Calls::default();
        for index in 0..3 {
            let id = format!("call_{index}");
            calls.begin(id.clone());
            calls.finish(&id, frame(RESULTS_BYTES_MAX / 2), frame(7));
        }
        let length = |id: &str| match calls.standing(id) {
            Standing::Finished(frame) => Some(frame.len()),
            Standing::New | Standing::Running | Standing::Acknowledged => None,
        };
        assert_eq!(length("call_0"), Some(7));
        assert_eq!(length("call_1"), Some(RESULTS_BYTES_MAX / 2));
        assert_eq!(length("call_3"), None);
        calls.acknowledge("call_0");
        calls.acknowledge("call_2");
        assert!(matches!(calls.standing("call_0"), Standing::Acknowledged));
        assert_eq!(calls.state("call_2"), CallState::Unknown);
        assert_eq!(calls.whole_bytes, RESULTS_BYTES_MAX / 2);
    }
}
