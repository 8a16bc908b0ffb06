//! The file tools: their turn, and their answers.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Server;
use crate::limits::WORKERS_MAX;
use crate::protocol::Response;
use crate::protocol::encode;
use crate::tools::Outcome;
use crate::tools::Tool;
use crate::worker::Worker;

/// A file tool that waits for its turn.
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) tool: Tool,
    pub(super) input: Arc<RawValue>,
}

/// An outcome as a file tool writes it.
#[derive(Deserialize)]
struct Answer {
    content: Vec<Arc<RawValue>>,
    is_error: bool,
}

impl Server {
    /// Starts those that wait, as far as there is room.
    pub(super) fn start_workers(&mut self) {
        while self.workers.len() < WORKERS_MAX
            && let Some(Waiting { id, tool, input }) = self.waiting.pop_front()
        {
            self.started += 1;
            let overflow = self.place.scratch.join(format!("{}-{}.txt", tool.name(), self.started));
            match Worker::start(id.clone(), tool, input.get(), &self.place, &overflow) {
                Ok(worker) => self.workers.push(Some(worker)),
                Err(error) => {
                    let text = format!("{}: the tool could not be started: {error}", tool.name());
                    self.finish(&id, &Outcome::error(text));
                }
            }
        }
    }

    /// Reads a part of an answer, and publishes it when it is complete.
    pub(super) fn on_worker(&mut self, index: usize) {
        let Some(worker) = self.workers[index].take_if(Worker::read) else { return };
        let (id, tool) = (worker.id.clone(), worker.tool);
        let answer = match worker.answer() {
            Ok(answer) => answer,
            Err(outcome) => return self.finish(&id, &outcome),
        };
        let Ok(Answer { content, is_error }) = serde_json::from_slice(&answer) else {
            let text = format!("{}: the tool ended in the middle of its result", tool.name());
            return self.finish(&id, &Outcome::error(text));
        };
        match encode(&Response::Result { id: id.clone(), content, is_error }) {
            Ok(frame) => self.publish(&id, frame.into()),
            Err(error) => self.finish(&id, &Outcome::error(error.to_string())),
        }
    }
}
