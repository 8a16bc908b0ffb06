//! Operations of the server's own: from the request to the answer.

use std::rc::Rc;
use std::time::Instant;

use super::Server;
use crate::calls::Standing;
use crate::exec::Execution;
use crate::files::FileOperation;
use crate::limits::EXECS_MAX;
use crate::protocol::CallState;
use crate::protocol::Response;
use crate::protocol::encode;
use crate::protocol::operation::Answer;
use crate::protocol::operation::Exec;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::Operation;
use crate::protocol::operation::Stream;
use crate::sys::Exit;
use crate::sys::Pid;
use crate::worker::Stopped;
use crate::worker::Task;

impl Server {
    /// Performs an operation; one that is kept, unless it is known.
    pub(super) fn operate(&mut self, index: usize, id: String, operation: Operation) {
        let connection = self.connections[index].number;
        let operation = match operation {
            Operation::Exec(exec) => return self.run(index, &id, &exec),
            Operation::WriteFile(write) => FileOperation::Write(write),
            Operation::ReadFile(read) => FileOperation::Read(read),
            Operation::ListFiles(list) => FileOperation::List(list),
        };
        if operation.is_kept() && self.is_known(index, &id) {
            return;
        }
        if operation.is_kept() {
            self.calls.begin(id.clone());
        }
        self.wait_for_worker(id, Task::Files { operation, connection });
    }

    fn run(&mut self, index: usize, id: &str, exec: &Exec) {
        let listener = exec.is_streamed.then_some(self.connections[index].number);
        if let Some(running) = self.executions.iter_mut().find(|running| running.id == id) {
            running.listener = listener.or(running.listener);
        }
        if self.is_known(index, id) {
            return;
        }
        self.calls.begin(id.to_owned());
        if self.executions.len() >= EXECS_MAX {
            let message = format!("run a program: {EXECS_MAX} run, which is the most that may");
            return self.finish_operation(id, Answer::Failed(Failure { kind: FailureKind::Busy, message }));
        }
        self.started += 1;
        match Execution::start(id.to_owned(), exec, self.started, &self.place) {
            Ok(mut execution) => {
                execution.listener = listener;
                self.executions.push(execution);
            }
            Err(failure) => self.finish_operation(id, Answer::Failed(failure)),
        }
    }

    /// Whether an operation was asked for before; then what is known of it is answered.
    fn is_known(&mut self, index: usize, id: &str) -> bool {
        match self.calls.standing(id) {
            Standing::New => return false,
            Standing::Running | Standing::Finished(_) => self.recall(index, id),
            Standing::Acknowledged => {
                let message =
                    "this operation ran before and its answer was acknowledged; it was not run again";
                let failure = Failure { kind: FailureKind::Repeated, message: message.to_owned() };
                self.answer(index, &Response::State { id: id.to_owned(), state: CallState::Finished });
                self.answer(index, &Response::Answer { id: id.to_owned(), answer: Answer::Failed(failure) });
            }
        }
        true
    }

    /// Reads what a program has printed.
    pub(super) fn on_execution(&mut self, index: usize, stream: Stream) {
        let bytes = self.executions[index].read(stream);
        self.pass_on(index, stream, bytes);
    }

    /// Takes note that a process has ended that was no shell.
    pub(super) fn on_program_exit(&mut self, pid: Pid, exit: Exit) {
        let Some(index) = self.executions.iter_mut().position(|one| one.on_exit(pid, exit)) else { return };
        for stream in [Stream::Stdout, Stream::Stderr] {
            let bytes = self.executions[index].read_rest(stream);
            self.pass_on(index, stream, bytes);
        }
    }

    /// Sends output to whoever wants it as it comes.
    fn pass_on(&mut self, index: usize, stream: Stream, bytes: Vec<u8>) {
        let Execution { id, listener, .. } = &self.executions[index];
        let (id, listener) = (id.clone(), *listener);
        if let Some(connection) = listener.and_then(|number| self.numbered(number))
            && !bytes.is_empty()
        {
            self.answer(connection, &Response::Output { id, stream, bytes });
        }
    }

    /// The connection with a number, if it is still there.
    pub(super) fn numbered(&self, number: u64) -> Option<usize> {
        self.connections.iter().position(|connection| connection.number == number)
    }

    /// Publishes what came of programs that have ended.
    pub(super) fn end_executions(&mut self, now: Instant) {
        let is_over = |execution: &mut Execution| execution.is_over(now);
        let ended: Vec<Execution> = self.executions.extract_if(.., is_over).collect();
        for execution in ended {
            let (id, exited, drains) = execution.close(&self.place.scratch);
            for drain in drains {
                self.drains.add(drain);
            }
            self.finish_operation(&id, Answer::Exited(exited));
        }
    }

    /// Publishes what came of an operation on files.
    pub(super) fn end_files(
        &mut self,
        id: &str,
        operation: &FileOperation,
        connection: u64,
        answer: Result<Vec<u8>, Stopped>,
    ) {
        let answer = answer.and_then(|json| {
            serde_json::from_slice(&json).map_err(|_| Stopped {
                kind: FailureKind::Other,
                reason: "the worker ended in the middle of its answer".to_owned(),
            })
        });
        let failed = |Stopped { kind, reason }: Stopped| Answer::Failed(operation.failure(kind, &reason));
        let answer = answer.unwrap_or_else(failed);
        if operation.is_kept() {
            self.finish_operation(id, answer);
        } else if let Some(index) = self.numbered(connection) {
            self.answer(index, &Response::Answer { id: id.to_owned(), answer });
        }
    }

    fn finish_operation(&mut self, id: &str, answer: Answer) {
        let message = "the answer to this operation was dropped: too many results wait to be acknowledged";
        let dropped = Failure { kind: FailureKind::Other, message: message.to_owned() };
        self.publish(id, frame(id, answer), frame(id, Answer::Failed(dropped)));
    }
}

fn frame(id: &str, answer: Answer) -> Rc<[u8]> {
    let answer = Response::Answer { id: id.to_owned(), answer };
    encode(&answer).expect("every part of an answer has a bound, far below that of a frame").into()
}
