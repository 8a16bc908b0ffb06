//! Meeting the hand of a container: a socket in the session's folder, for as long as it takes.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::ids::SessionId;
use api::time::Timestamp;
use hand::contain;
use hand::contain::Greeting;
use hand::contain::Word;
use hand::protocol;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use super::engine::Engine;
use super::engine::Found;
use super::files::Files;
use super::set_up;
use crate::Error;
use crate::sys::socket;
use crate::wire::PROTOCOL;

/// How long a hand may take to come, and to raise its walls.
const MEET_MAX: Duration = Duration::from_secs(30);
/// How long to wait before it is called, at first and at most.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What came of it.
pub(super) enum Met {
    /// A stream to the hand, the listeners of its network if it has one, and since when no other sandbox has run.
    Serving { stream: OwnedFd, listeners: Vec<OwnedFd>, since: Option<Timestamp> },
    /// The container does not run.
    Gone,
    /// The hand speaks another protocol, or waits for a specification that is not at hand.
    Foreign,
}

/// Waits for the hand of a session's container. `given` is what a new one is told; `rings` when it is not known to be
/// looking for us anyway.
pub(super) async fn meet(
    engine: &Engine,
    files: &Files,
    session: &SessionId,
    given: Option<&contain::Spec>,
    rings: bool,
) -> Result<Met, Error> {
    let failed = |error: io::Error| set_up(session, &format!("meet its hand: {error}"));
    let door = Door::open(&files.door(session)).map_err(failed)?;
    let deadline = Instant::now() + MEET_MAX;
    let (mut pause, mut rings) = (PAUSE, rings);
    loop {
        let Found::Running { pid, since, .. } = engine.find(session).await? else { return Ok(Met::Gone) };
        if rings {
            engine.signal(session, contain::BELL).await?;
        }
        if let Ok(stream) = timeout(pause, door.caller(pid)).await {
            drop(door);
            let greeted = timeout_at(deadline, greet(stream.map_err(failed)?, given)).await;
            return match greeted {
                Ok(Ok(Some((stream, listeners)))) => Ok(Met::Serving { stream, listeners, since }),
                Ok(Ok(None)) => Ok(Met::Foreign),
                // It ended meanwhile.
                Ok(Err(error)) if is_end(&error) => Ok(Met::Gone),
                Ok(Err(error)) => Err(failed(error)),
                Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
            };
        }
        if Instant::now() > deadline {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        (pause, rings) = ((pause * 2).min(PAUSE_MAX), true);
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Hears the hand's greeting and answers it. `None` when that is not possible.
async fn greet(
    mut stream: UnixStream,
    given: Option<&contain::Spec>,
) -> io::Result<Option<(OwnedFd, Vec<OwnedFd>)>> {
    let (greeting, mut listeners) = read_word(&mut stream).await?;
    match (greeting, given) {
        (Greeting::Serving { protocol: PROTOCOL }, _) => {}
        (Greeting::Serving { .. }, _) | (Greeting::New, None) => return Ok(None),
        (Greeting::New, Some(spec)) => {
            let frame = protocol::encode(spec).map_err(io::Error::other)?;
            stream.write_all(&frame).await?;
            let (word, attached) = read_word(&mut stream).await?;
            match word {
                Word::Ready => listeners = attached,
                Word::Failed(reason) => return Err(io::Error::other(reason)),
            }
        }
    }
    Ok(Some((stream.into_std()?.into(), listeners)))
}

/// Reads one frame and what is attached to its beginning, and nothing that comes after it.
async fn read_word<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let (mut length, mut read, mut attached) = ([0; 4], 0, Vec::new());
    while read < length.len() {
        let rest = &mut length[read..];
        let (count, fds) =
            stream.async_io(Interest::READABLE, || socket::receive(stream.as_fd(), rest)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += count;
        attached.extend(fds);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > contain::WORD_BYTES_MAX {
        return Err(io::Error::other("a word of the hand is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let word = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    Ok((word, attached))
}

/// A listening socket in a session's folder. It goes with this.
struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    fn open(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        remove_left(folder)?;
        let own = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("{own}{}", contain::SUFFIX));
        let new = folder.join(format!("{own}.new"));
        let listener = through(folder, &format!("{own}.new"), StdUnixListener::bind)?;
        // Who comes is looked at, not who may. It has its name only once it can be connected to.
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o666))?;
        std::fs::rename(&new, &path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path })
    }

    /// The connection of this process. Others are turned away.
    async fn caller(&self, pid: i32) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if stream.peer_cred().is_ok_and(|peer| peer.pid() == Some(pid)) {
                return Ok(stream);
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Removes sockets that nobody listens on any more.
fn remove_left(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(contain::SUFFIX) {
            continue;
        }
        let refused = through(folder, &name, StdUnixStream::connect).err();
        if refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// Does something with a file by a path that is short enough for the address of a socket.
fn through<T>(folder: &Path, name: &str, work: impl FnOnce(String) -> io::Result<T>) -> io::Result<T> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let folder = std::fs::File::options().read(true).custom_flags(flags).open(folder)?;
    work(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
