//! The connection of a server to its spawner: requests go out with a number, answers come back in any order.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::sys::socket;
use crate::task::Task;
use crate::wire::Answer;
use crate::wire::Ask;
use crate::wire::MESSAGE_BYTES_MAX;
use crate::wire::Reply;
use crate::wire::Request;
use crate::wire::SOCKET;

/// Requests that wait for an answer at once. More than a server starts sessions at once.
const PENDING_MAX: usize = 4096;

/// An answer and what was attached to it.
pub(crate) type Answered = (Answer, Option<OwnedFd>);

/// An open connection to a spawner.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _reader: Task,
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    last: u64,
    is_closed: bool,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Connects to the spawner that listens in a data folder.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let socket = register(socket::connect(data_dir, SOCKET)?)?;
        let shared = Arc::new(Shared { socket, pending: Mutex::default() });
        let reader = Task::start(read(Arc::clone(&shared)));
        Ok(Self { shared, _reader: reader })
    }

    /// Whether the spawner has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.pending().is_closed
    }

    /// Asks and waits for the answer. `ConnectionReset` when the spawner goes away first.
    pub(crate) async fn ask(&self, ask: Ask) -> io::Result<Answered> {
        self.ask_with(ask, None).await
    }

    /// The same, with a descriptor attached to the request.
    pub(crate) async fn ask_with(&self, ask: Ask, attached: Option<BorrowedFd<'_>>) -> io::Result<Answered> {
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut pending = self.shared.pending();
            if pending.is_closed {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            // Requests whose callers have gone are forgotten here rather than never.
            if pending.waiting.len() >= PENDING_MAX {
                pending.waiting.retain(|_, sender| !sender.is_closed());
            }
            if pending.waiting.len() >= PENDING_MAX {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            pending.last += 1;
            let number = pending.last;
            pending.waiting.insert(number, sender);
            number
        };
        let bytes = serde_json::to_vec(&Request { number, ask })?;
        let attached = attached.as_slice();
        let send = |fd: &OwnedFd| socket::send(fd.as_fd(), &bytes, attached);
        let sent = self.shared.socket.async_io(Interest::WRITABLE, send).await;
        if let Err(error) = sent {
            self.shared.pending().waiting.remove(&number);
            return Err(match error.kind() {
                io::ErrorKind::BrokenPipe => io::ErrorKind::ConnectionReset.into(),
                _ => error,
            });
        }
        receiver.await.map_err(|_| io::ErrorKind::ConnectionReset.into())
    }

    /// Waits until the spawner has gone.
    pub(crate) async fn closed(&self) {
        // Once the reader is over nothing is pending and nothing is added.
        while !self.is_closed() {
            let (sender, receiver) = oneshot::channel();
            {
                let mut pending = self.shared.pending();
                if pending.is_closed {
                    return;
                }
                pending.last += 1;
                let number = pending.last;
                pending.waiting.insert(number, sender);
            }
            drop(receiver.await);
        }
    }
}

#[expect(unsafe_code, reason = "what the runtime asks of the descriptor is a promise in words")]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor belongs to the returned value, which neither hands it out nor closes it before its own end.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let received =
            shared.socket.async_io(Interest::READABLE, |fd| socket::receive(fd.as_fd(), &mut buffer)).await;
        let (length, attached) = match received {
            Ok((0, _)) => break,
            Ok((length, attached)) => (length, attached.into_iter().next()),
            Err(error) => {
                tracing::warn!("read from the spawner: {error}");
                break;
            }
        };
        match serde_json::from_slice(&buffer[..length]) {
            Ok(Reply { number, answer }) => {
                let waiting = shared.pending().waiting.remove(&number);
                // A caller that has gone takes its stream with it.
                drop(waiting.map(|sender| sender.send((answer, attached))));
            }
            Err(error) => {
                tracing::warn!("understand the spawner: {error}");
                break;
            }
        }
    }
    let mut pending = shared.pending();
    pending.is_closed = true;
    pending.waiting.clear();
}
