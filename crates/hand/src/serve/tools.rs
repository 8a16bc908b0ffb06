//! Calls of tools: from the request to the result.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Server;
use super::results::result_frame;
use crate::calls::Standing;
use crate::limits::WORKERS_MAX;
use crate::protocol::CallState;
use crate::protocol::Response;
use crate::protocol::encode;
use crate::protocol::operation::FailureKind;
use crate::shell::Shell;
use crate::tools::Outcome;
use crate::tools::Tool;
use crate::tools::bash;
use crate::worker::Stopped;
use crate::worker::Task;
use crate::worker::Worker;

/// Work on files that waits for its turn.
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) task: Task,
}

/// An outcome as a file tool writes it.
#[derive(Deserialize)]
struct Answer {
    content: Vec<Arc<RawValue>>,
    is_error: bool,
}

impl Server {
    /// Runs a tool, unless its call is known.
    pub(super) fn execute(
        &mut self,
        index: usize,
        id: String,
        thread: String,
        tool: &str,
        input: Arc<RawValue>,
    ) {
        match self.calls.standing(&id) {
            Standing::New => {}
            Standing::Running | Standing::Finished(_) => return self.recall(index, &id),
            Standing::Acknowledged => {
                self.answer(index, &Response::State { id: id.clone(), state: CallState::Finished });
                let text = "this call ran before and its result was acknowledged; it was not run again";
                let frame = result_frame(&id, &Outcome::error(text.to_owned()));
                return self.connections[index].send(frame);
            }
        }
        self.calls.begin(id.clone());
        match Tool::named(tool) {
            None => self.finish(&id, &Outcome::error(format!("unknown tool: {tool}"))),
            Some(Tool::Bash) => match bash::order(input.get()) {
                Err(text) => self.finish(&id, &Outcome::error(text)),
                Ok(order) => {
                    let shell = self.shell(thread);
                    self.shells[shell].enqueue(id, order);
                    self.advance(shell);
                }
            },
            Some(tool) => self.wait_for_worker(id, Task::Tool { tool, input }),
        }
    }

    fn shell(&mut self, thread: String) -> usize {
        if let Some(index) = self.threads.get(&thread) {
            return *index;
        }
        let index = self.shells.len();
        let state = self.rest.take(&thread);
        self.shells.push(Shell::new(thread.clone(), index as u64, state));
        self.threads.insert(thread, index);
        index
    }

    /// Starts work on files, now or when others have ended.
    pub(super) fn wait_for_worker(&mut self, id: String, task: Task) {
        self.waiting.push_back(Waiting { id, task });
        self.start_workers();
    }

    /// Starts those that wait, as far as there is room.
    pub(super) fn start_workers(&mut self) {
        while self.workers.len() < WORKERS_MAX
            && let Some(Waiting { id, task }) = self.waiting.pop_front()
        {
            self.started += 1;
            let overflow = self.place.scratch.join(format!("{}-{}.txt", task.name(), self.started));
            match Worker::start(id, task, &self.place, &overflow) {
                Ok(worker) => self.workers.push(Some(worker)),
                Err((id, task, error)) => {
                    let reason = format!("the worker could not be started: {error}");
                    self.end_work(&id, &task, Err(Stopped { kind: FailureKind::Other, reason }));
                }
            }
        }
    }

    /// Reads a part of an answer, and publishes it when it is complete.
    pub(super) fn on_worker(&mut self, index: usize) {
        let Some(worker) = self.workers[index].take_if(Worker::read) else { return };
        let (id, task, answer) = worker.close(&self.place);
        self.end_work(&id, &task, answer);
    }

    /// Publishes what came of work on files.
    pub(super) fn end_work(&mut self, id: &str, task: &Task, answer: Result<Vec<u8>, Stopped>) {
        match task {
            Task::Tool { tool, .. } => self.end_tool(id, *tool, answer),
            Task::Files { operation, connection } => self.end_files(id, operation, *connection, answer),
        }
    }

    fn end_tool(&mut self, id: &str, tool: Tool, answer: Result<Vec<u8>, Stopped>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(Stopped { kind: FailureKind::Cancelled, reason }) => {
                return self.finish(id, &Outcome::error(reason));
            }
            Err(Stopped { kind: _, reason }) => {
                return self.finish(id, &Outcome::error(format!("{}: {reason}", tool.name())));
            }
        };
        let Ok(Answer { content, is_error }) = serde_json::from_slice(&answer) else {
            let text = format!("{}: the tool ended in the middle of its result", tool.name());
            return self.finish(id, &Outcome::error(text));
        };
        match encode(&Response::Result { id: id.to_owned(), content, is_error }) {
            Ok(frame) => self.publish(id, frame.into(), result_frame(id, &dropped())),
            Err(error) => self.finish(id, &Outcome::error(error.to_string())),
        }
    }
}

/// What stands in for the result of a call that was dropped.
pub(super) fn dropped() -> Outcome {
    Outcome::error("the result of this call was dropped: too many results wait to be acknowledged".to_owned())
}
