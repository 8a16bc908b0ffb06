//! A running sandbox as a server sees it: the stream to its hand.
//!
//! One task reads. Whoever waits for a call is told when its result comes; a result that nobody waits for yet is kept,
//! within bounds, for it comes from a call that a former server started. When the stream ends, the sandbox has died:
//! everybody who waits learns that, and everybody who asks later too.

mod operations;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use api::ids::EventId;
use api::ids::SessionId;
use api::time::Timestamp;
use async_trait::async_trait;
use hand::protocol;
use hand::protocol::CallState;
use hand::protocol::Decoder;
use hand::protocol::Request;
use hand::protocol::Response;
use hand::protocol::operation::Answer;
use hand::protocol::operation::Operation;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::operations::Operations;
use crate::Call;
use crate::Error;
use crate::Outcome;
use crate::Output;
use crate::Recall;
use crate::Sandbox;
use crate::task::Task;

/// Calls that are waited for at once in one sandbox, and operations.
const WAITING_MAX: usize = 1024;
/// Results that are kept for somebody to ask. The hand keeps them too, so a dropped one is asked for again.
const KEPT_MAX: usize = 64;
/// Frames that wait to be written. Each may be large.
const FRAMES_MAX: usize = 4;
/// How long a hand may take for a sign of life. It never does anything that takes long itself.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 * 1024;

/// The stream to a hand.
#[derive(Debug)]
pub(crate) struct Connection {
    session: SessionId,
    /// See [`crate::Adopted::sole_since`].
    sole_since: Option<Timestamp>,
    /// A frame that is in here is sent whole, whatever becomes of its sender.
    frames: mpsc::Sender<Vec<u8>>,
    state: Arc<Mutex<State>>,
    _reader: Task,
    _writer: Task,
}

#[derive(Debug, Default)]
struct State {
    is_lost: bool,
    waiting: HashMap<EventId, Vec<Waiter>>,
    waiting_count: usize,
    operations: Operations,
    kept: VecDeque<(EventId, Outcome)>,
    /// Who waits for a sign of life.
    pings: Vec<oneshot::Sender<()>>,
    /// Who waits for the shells to be at rest.
    rests: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    sender: oneshot::Sender<Recall>,
}

/// What a waiter makes of the hand not knowing its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// It has just asked for it to be run, so that cannot be the answer to it.
    Result,
    /// It asks what became of it.
    State,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Takes over a stream that the spawner gave.
    pub(crate) fn open(
        session: SessionId,
        sole_since: Option<Timestamp>,
        stream: OwnedFd,
    ) -> std::io::Result<Self> {
        let stream = StdUnixStream::from(stream);
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let state = Arc::new(Mutex::new(State::default()));
        let (frames, waiting) = mpsc::channel(FRAMES_MAX);
        let reader = Task::start(read(session.clone(), reader, Arc::clone(&state)));
        let writer = Task::start(write(waiting, writer, Arc::clone(&state)));
        Ok(Self { session, sole_since, frames, state, _reader: reader, _writer: writer })
    }

    /// The session whose sandbox it is.
    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Since when no other sandbox has run for the session.
    pub(crate) fn sole_since(&self) -> Option<Timestamp> {
        self.sole_since
    }

    /// Whether the sandbox has died.
    pub(crate) fn is_lost(&self) -> bool {
        lock(&self.state).is_lost
    }

    fn lost(&self) -> Error {
        Error::Lost { session: self.session.clone() }
    }

    /// Whether the hand on the other side lives. A stream to one that is just dying can still be had.
    pub(crate) async fn answers(&self) -> bool {
        self.ask(&Request::Ping, |state| &mut state.pings).await
    }

    /// Asks for something that is answered by a word, and waits for the word.
    async fn ask(
        &self,
        request: &Request,
        waiting: impl Fn(&mut State) -> &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if state.is_lost {
                return false;
            }
            waiting(&mut state).push(sender);
        }
        self.send(request).await.is_ok() && matches!(timeout(ANSWER_MAX, receiver).await, Ok(Ok(())))
    }

    /// Registers for what becomes of a call.
    fn wait_for(&self, id: &EventId, wants: Wants) -> Result<oneshot::Receiver<Recall>, Error> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.is_lost {
            return Err(self.lost());
        }
        if state.waiting_count >= WAITING_MAX {
            state.forget_gone();
        }
        if state.waiting_count >= WAITING_MAX {
            return Err(Error::Busy { session: self.session.clone() });
        }
        state.waiting_count += 1;
        state.waiting.entry(id.clone()).or_default().push(Waiter { wants, sender });
        Ok(receiver)
    }

    async fn send(&self, request: &Request) -> Result<(), Error> {
        let frame = protocol::encode(request).map_err(|error| match error {
            protocol::Error::Oversize { length } => {
                Error::TooLarge { session: self.session.clone(), bytes: length }
            }
            protocol::Error::Malformed(_) | protocol::Error::Unencodable(_) => self.lost(),
        })?;
        self.frames.send(frame).await.map_err(|_| self.lost())
    }

    async fn settle(&self, receiver: oneshot::Receiver<Recall>) -> Result<Recall, Error> {
        receiver.await.map_err(|_| self.lost())
    }
}

#[async_trait]
impl Sandbox for Connection {
    async fn execute(&self, call: &Call) -> Result<Outcome, Error> {
        let receiver = self.wait_for(&call.id, Wants::Result)?;
        self.send(&Request::Execute {
            id: call.id.to_string(),
            thread: call.thread.to_string(),
            tool: call.tool.clone(),
            input: Arc::clone(&call.input),
        })
        .await?;
        match self.settle(receiver).await? {
            Recall::Finished(outcome) => Ok(outcome),
            Recall::Unknown => Err(self.lost()),
        }
    }

    async fn operate(
        &self,
        id: Option<&EventId>,
        operation: Operation,
        output: Option<Output>,
    ) -> Result<Answer, Error> {
        let (id, receiver) = {
            let mut state = lock(&self.state);
            if state.is_lost {
                return Err(self.lost());
            }
            if state.operations.count() >= WAITING_MAX {
                return Err(Error::Busy { session: self.session.clone() });
            }
            let id = id.map_or_else(|| state.operations.name(), ToString::to_string);
            (id.clone(), state.operations.wait(id, output))
        };
        self.send(&Request::Operate { id, operation }).await?;
        receiver.await.map_err(|_| self.lost())
    }

    async fn recall(&self, id: &EventId) -> Result<Recall, Error> {
        if let Some(outcome) = lock(&self.state).kept(id) {
            return Ok(Recall::Finished(outcome));
        }
        let receiver = self.wait_for(id, Wants::State)?;
        self.send(&Request::Recall { id: id.to_string() }).await?;
        self.settle(receiver).await
    }

    async fn acknowledge(&self, ids: &[EventId]) -> Result<(), Error> {
        lock(&self.state).kept.retain(|(id, _)| !ids.contains(id));
        let ids = ids.iter().map(ToString::to_string).collect();
        self.send(&Request::Acknowledge { ids }).await
    }

    async fn cancel(&self, id: &EventId) -> Result<(), Error> {
        self.send(&Request::Cancel { id: id.to_string() }).await
    }

    async fn rest(&self) -> Result<(), Error> {
        let has_rested = self.ask(&Request::Rest, |state| &mut state.rests).await;
        if has_rested { Ok(()) } else { Err(self.lost()) }
    }
}

impl State {
    fn kept(&self, id: &EventId) -> Option<Outcome> {
        self.kept.iter().find(|(one, _)| one == id).map(|(_, outcome)| outcome.clone())
    }

    /// Tells all who wait for a call, or those of them who only ask, what became of it. True when somebody heard.
    fn tell(&mut self, id: &EventId, recall: &Recall) -> bool {
        let Some(waiters) = self.waiting.remove(id) else { return false };
        let (told, others): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|waiter| match recall {
            Recall::Finished(_) => true,
            Recall::Unknown => waiter.wants == Wants::State,
        });
        self.waiting_count -= told.len();
        if !others.is_empty() {
            self.waiting.insert(id.clone(), others);
        }
        let mut is_heard = false;
        for waiter in told {
            is_heard |= waiter.sender.send(recall.clone()).is_ok();
        }
        is_heard
    }

    fn keep(&mut self, id: EventId, outcome: Outcome) {
        if self.kept.iter().any(|(one, _)| *one == id) {
            return;
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((id, outcome));
    }

    /// Forgets waiters whose callers have gone.
    fn forget_gone(&mut self) {
        self.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.sender.is_closed());
            !waiters.is_empty()
        });
        self.waiting_count = self.waiting.values().map(Vec::len).sum();
    }

    /// The sandbox has died: nobody is answered any more.
    fn lose(&mut self) {
        self.is_lost = true;
        self.waiting.clear();
        self.waiting_count = 0;
        self.operations.clear();
        self.pings.clear();
        self.rests.clear();
    }

    fn hear(&mut self, response: Response) {
        match response {
            Response::Result { id, content, is_error } => {
                let Some(id) = EventId::parse(&id) else { return };
                let outcome = Outcome { content, is_error };
                if !self.tell(&id, &Recall::Finished(outcome.clone())) {
                    self.keep(id, outcome);
                }
            }
            Response::State { id, state } => match (EventId::parse(&id), state) {
                (Some(id), CallState::Unknown) => {
                    self.tell(&id, &Recall::Unknown);
                }
                // The result follows, now or later.
                (Some(_), CallState::Running | CallState::Finished) | (None, _) => {}
            },
            Response::Answer { id, answer } => self.operations.hear_answer(&id, &answer),
            Response::Output { id, stream, bytes } => self.operations.hear_output(&id, stream, &bytes),
            Response::Pong => answer_all(&mut self.pings),
            Response::Rested => answer_all(&mut self.rests),
        }
    }
}

fn answer_all(waiting: &mut Vec<oneshot::Sender<()>>) {
    for sender in waiting.drain(..) {
        // Whoever asked may have gone.
        let _: Result<(), ()> = sender.send(());
    }
}

async fn write(mut frames: mpsc::Receiver<Vec<u8>>, mut writer: OwnedWriteHalf, state: Arc<Mutex<State>>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            tracing::debug!(%error, "write to a sandbox failed");
            break;
        }
    }
    lock(&state).lose();
}

async fn read(session: SessionId, mut reader: OwnedReadHalf, state: Arc<Mutex<State>>) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) => break tracing::debug!(session.id = %session, "the sandbox of session {session} hung up"),
            Ok(length) => length,
            Err(error) => {
                break tracing::debug!(session.id = %session, %error, "read from the sandbox of session {session} failed");
            }
        };
        decoder.push(&buffer[..length]);
        let all = loop {
            match decoder.message() {
                Ok(Some(response)) => lock(&state).hear(response),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = all {
            tracing::warn!(session.id = %session, "understand the sandbox of session {session}: {error}");
            break;
        }
    }
    lock(&state).lose();
}
