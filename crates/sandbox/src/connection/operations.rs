//! Operations that are waited for.

use std::collections::HashMap;

use hand::protocol::operation::Answer;
use hand::protocol::operation::Stream;
use tokio::sync::oneshot;

use crate::operations::Output;

/// By their names in the sandbox.
#[derive(Default)]
pub(super) struct Operations {
    waiting: HashMap<String, Vec<Waiter>>,
    /// How many there were without a name of the caller's.
    unnamed: u64,
}

struct Waiter {
    sender: oneshot::Sender<Answer>,
    output: Option<Output>,
}

impl Operations {
    /// A name for an operation that nobody else asks for.
    pub(super) fn name(&mut self) -> String {
        self.unnamed += 1;
        format!("unnamed-{}", self.unnamed)
    }

    /// How many are waited for. Forgets those whose callers have gone.
    pub(super) fn count(&mut self) -> usize {
        self.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.sender.is_closed());
            !waiters.is_empty()
        });
        self.waiting.values().map(Vec::len).sum()
    }

    /// Waits for one.
    pub(super) fn wait(&mut self, name: String, output: Option<Output>) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.entry(name).or_default().push(Waiter { sender, output });
        receiver
    }

    /// Passes on what a program has printed.
    pub(super) fn hear_output(&self, name: &str, stream: Stream, bytes: &[u8]) {
        for waiter in self.waiting.get(name).into_iter().flatten() {
            if let Some(output) = waiter.output.as_ref().filter(|_| !waiter.sender.is_closed()) {
                output(stream, bytes);
            }
        }
    }

    /// Passes on what came of one.
    pub(super) fn hear_answer(&mut self, name: &str, answer: &Answer) {
        for waiter in self.waiting.remove(name).into_iter().flatten() {
            // Whoever asked may have gone.
            drop(waiter.sender.send(answer.clone()));
        }
    }

    /// The sandbox has died: nobody is answered any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.waiting.keys()).finish()
    }
}
