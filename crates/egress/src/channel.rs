//! The server's direct channel to the egress process: what sessions may do goes this way and no other, so that the
//! spawner, which starts the process and passes it listeners, sees neither policies nor secrets.
//!
//! The channel keeps what it has granted. A process that follows one that died is told everything again before anything
//! else, so a grant holds until it is released, whatever dies meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use api::ids::SessionId;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::connection;
use crate::grant::Grant;
use crate::limits::ANSWER_TIME_MAX;
use crate::limits::CHANGES_MAX;
use crate::packets::Packets;
use crate::wire::Request;
use crate::wire::Response;

/// How soon a process that is not there is looked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// The egress process has not taken what a session may do.
#[derive(Debug, thiserror::Error)]
#[error("tell the egress process about session {session}")]
pub struct ChannelError {
    /// The session.
    pub session: String,
    /// The failure.
    #[source]
    pub source: io::Error,
}

type Grants = Arc<Mutex<BTreeMap<SessionId, Arc<Grant>>>>;

/// The channel to the egress process of a data folder. Dropping it leaves the process with what it was told.
#[derive(Debug)]
pub struct Channel {
    data_dir: PathBuf,
    grants: Grants,
    keeper: Mutex<Option<Keeper>>,
}

/// The task that holds the connection.
#[derive(Debug)]
struct Keeper {
    changes: mpsc::Sender<Change>,
    _task: JoinSet<()>,
}

/// What a session may do has changed.
#[derive(Debug)]
struct Change {
    session: SessionId,
    done: oneshot::Sender<io::Result<()>>,
}

fn lock(grants: &Grants) -> MutexGuard<'_, BTreeMap<SessionId, Arc<Grant>>> {
    grants.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// The channel of a data folder. Connects to nothing yet.
    pub fn open(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), grants: Grants::default(), keeper: Mutex::default() }
    }

    /// Grants a session something instead of what it was granted before. Returns when that holds.
    pub async fn grant(&self, session: &SessionId, grant: Arc<Grant>) -> Result<(), ChannelError> {
        lock(&self.grants).insert(session.clone(), grant);
        self.change(session).await
    }

    /// Takes back what a session was granted, once its sandbox is to end. Waits for nothing: the process hears of it as
    /// soon as it can, and the next process never hears of the session.
    pub fn release(&self, session: &SessionId) {
        if lock(&self.grants).remove(session).is_some() {
            let (done, _) = oneshot::channel();
            // While that many changes wait, no sandbox is left that this one matters to.
            drop(self.changes().try_send(Change { session: session.clone(), done }));
        }
    }

    /// The certificate, as PEM, of the authority that a session's sandbox has to trust before the session is granted
    /// substitutions.
    pub async fn authority(&self, session: &SessionId) -> Result<String, ChannelError> {
        let request = Request::Authority { session: session.clone() };
        let asking = async {
            loop {
                match connection::open(&self.data_dir) {
                    Ok(packets) => return connection::ask(&packets, &request).await,
                    Err(error) if is_absent(&error) => sleep(PAUSE).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let answer = timeout(ANSWER_TIME_MAX, asking).await.unwrap_or_else(|error| Err(error.into()));
        let certificate = answer.and_then(|response| match response {
            Response::Authority { certificate } => Ok(certificate),
            other => Err(connection::unexpected(other)),
        });
        certificate.map_err(|source| ChannelError { session: session.to_string(), source })
    }

    /// Tells the process about a session.
    async fn change(&self, session: &SessionId) -> Result<(), ChannelError> {
        let (done, answer) = oneshot::channel();
        let changes = self.changes();
        let telling = async {
            let gone = |()| io::Error::from(io::ErrorKind::BrokenPipe);
            changes.send(Change { session: session.clone(), done }).await.map_err(|_| gone(()))?;
            answer.await.map_err(|_| gone(()))?
        };
        let told = timeout(ANSWER_TIME_MAX, telling).await.unwrap_or_else(|error| Err(error.into()));
        told.map_err(|source| ChannelError { session: session.to_string(), source })
    }

    /// The way to the task that holds the connection, which starts at the first use.
    fn changes(&self) -> mpsc::Sender<Change> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keeper.get_or_insert_with(|| {
            let (changes, changed) = mpsc::channel(CHANGES_MAX);
            let mut task = JoinSet::new();
            task.spawn(keep(self.data_dir.clone(), Arc::clone(&self.grants), changed));
            Keeper { changes, _task: task }
        });
        keeper.changes.clone()
    }
}

/// The process is not there at the moment: it may be about to start.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Holds a connection to the process that runs, and tells it what it does not know.
async fn keep(data_dir: PathBuf, grants: Grants, mut changes: mpsc::Receiver<Change>) {
    // Those whose change was under way when a process died; it is among what the next one is told.
    let mut waiting: Vec<oneshot::Sender<io::Result<()>>> = Vec::new();
    loop {
        let packets = match connection::open(&data_dir) {
            Ok(packets) if tell_all(&packets, &grants).await.is_ok() => packets,
            Ok(_) | Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        for done in waiting.drain(..) {
            drop(done.send(Ok(())));
        }
        loop {
            tokio::select! {
                change = changes.recv() => {
                    let Some(Change { session, done }) = change else { return };
                    match tell(&packets, &grants, session).await {
                        Ok(Response::Done) => drop(done.send(Ok(()))),
                        Ok(other) => drop(done.send(Err(connection::unexpected(other)))),
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => drop(done.send(Err(error))),
                        Err(_) => {
                            waiting.push(done);
                            break;
                        }
                    }
                }
                // It says nothing unasked: it has gone.
                _ = packets.receive() => break,
            }
        }
    }
}

async fn tell_all(packets: &Packets, grants: &Grants) -> io::Result<()> {
    let sessions: Vec<SessionId> = lock(grants).keys().cloned().collect();
    for session in sessions {
        match tell(packets, grants, session).await {
            // One that was refused was refused to whoever granted it; the others hold.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells what a session may do at this moment.
async fn tell(packets: &Packets, grants: &Grants, session: SessionId) -> io::Result<Response> {
    let grant = lock(grants).get(&session).cloned();
    let request = match grant {
        Some(grant) => Request::Grant { session, grant },
        None => Request::Release { session },
    };
    let asking = connection::ask(packets, &request);
    timeout(ANSWER_TIME_MAX, asking).await.unwrap_or_else(|error| Err(error.into()))
}
