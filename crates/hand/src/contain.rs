//! The hand as the first process of a container that somebody else made.
//!
//! The server's side listens, the hand connects. What they share is a folder of the host, shown inside read-only: when a
//! server wants a stream, it puts a listening socket there and rings the bell, a signal; the hand connects to every socket
//! that it finds, says whether it serves already, and goes on. So a server that comes after another gets a stream too, and
//! while no server waits there is nothing in the folder. The first connection brings the specification; then the walls are
//! raised, and calls are served.
//!
//! Invariants: the hand holds the folder open since before anything else ran in the container, so nobody inside can show
//! it another one; and it talks only to processes outside of the container, which the kernel shows by a missing process id.

mod sys;

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::retry_on_intr;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::confine;
use crate::confine::sys::socket::send_with;
use crate::place::Place;
use crate::protocol;
use crate::serve;

/// Where the program is inside: in memory that is new in every life of the container, so that no former one has prepared it.
pub const PROGRAM: &str = "/dev/journeyman-hand";
/// Where the shared folder is inside.
pub const FOLDER: &str = "/dev/journeyman-door";
/// What the names of sockets in it end in, once they can be connected to.
pub const SUFFIX: &str = ".sock";
/// The word that chooses this role on the command line.
pub const ARGUMENT: &str = "--container";
/// The signal that calls for a look into the folder.
pub const BELL: i32 = libc::SIGUSR1;
/// Longest word of the greetings, in bytes.
pub const WORD_BYTES_MAX: usize = 128 * 1024;

/// Sockets that are looked at in one turn.
const SOCKETS_MAX: usize = 16;

/// What a hand in a container is to do: the server's answer to [`Greeting::New`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What server and hand will speak; repeated in [`Greeting::Serving`].
    pub protocol: u32,
    /// Largest file, as a resource limit.
    pub file_bytes_max: Option<u64>,
    /// Whether connections to the outside are caught, at listeners that are handed over.
    pub has_network: bool,
    /// Environment of shells and tools, over what the image has.
    pub variables: Vec<(String, String)>,
}

/// The first word on every connection, by the hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// It waits for its specification.
    New,
    /// It serves calls, on this connection too. The listeners are attached, if there are any.
    Serving {
        /// As in its specification.
        protocol: u32,
    },
}

/// The hand's answer to its specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The walls stand; the listeners are attached, if there are any.
    Ready,
    /// They do not; the hand exits.
    Failed(String),
}

/// The way to the servers outside.
pub(crate) struct Door {
    folder: File,
    bell: File,
    protocol: u32,
    /// Kept for the servers to come; every greeting carries them.
    listeners: Vec<OwnedFd>,
}

/// Waits for a server, raises the walls, serves. Returns only when that failed.
pub fn run() -> ExitCode {
    match begin() {
        Ok((door, first, place)) => serve::run_behind(door, first, place),
        Err(_) => ExitCode::FAILURE,
    }
}

fn begin() -> io::Result<(Door, OwnedFd, Place)> {
    let mut door = Door::open()?;
    let (mut first, spec) = loop {
        if let Some(met) = door.visitors().into_iter().find_map(|visitor| meet(visitor).ok()) {
            break met;
        }
        door.wait()?;
    };
    let Spec { file_bytes_max, has_network, .. } = spec;
    let raised = confine::enter_container(confine::Container { file_bytes_max, has_network });
    let (word, listeners) = match raised {
        Ok(listeners) => (Word::Ready, listeners),
        Err(error) => (Word::Failed(error.to_string()), Vec::new()),
    };
    let frame = protocol::encode(&word).map_err(io::Error::other)?;
    match &word {
        Word::Ready => send_with(first.as_fd(), &frame, &listeners)?,
        Word::Failed(reason) => {
            first.write_all(&frame)?;
            return Err(io::Error::other(reason.clone()));
        }
    }
    (door.protocol, door.listeners) = (spec.protocol, listeners);
    let variables = variables(spec.variables);
    Ok((door, first.into(), Place { variables, ..Place::default() }))
}

/// Takes the specification from a server.
fn meet(visitor: OwnedFd) -> io::Result<(UnixStream, Spec)> {
    let mut stream = UnixStream::from(visitor);
    stream.set_nonblocking(false)?;
    stream.write_all(&protocol::encode(&Greeting::New).map_err(io::Error::other)?)?;
    let spec = read_word(&mut stream)?;
    Ok((stream, spec))
}

/// Reads one frame, and nothing that comes after it.
pub fn read_word<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > WORD_BYTES_MAX {
        return Err(io::Error::other("a word is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// The image's environment, which this process was started with, under the session's. What names the machine or the user
/// is the shells' own.
fn variables(own: Vec<(String, String)>) -> Vec<(String, String)> {
    const OURS: [&str; 4] = ["HOME", "HOSTNAME", "TERM", "PWD"];
    let image = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        (!OURS.contains(&name.as_str())).then_some((name, value))
    });
    image.chain(own).collect()
}

impl Door {
    fn open() -> io::Result<Self> {
        let folder = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(FOLDER)?;
        Ok(Self { folder, bell: crate::sys::signals(BELL)?, protocol: 0, listeners: Vec::new() })
    }

    /// What can be read once somebody has rung.
    pub(crate) fn bell(&self) -> io::Result<OwnedFd> {
        Ok(self.bell.try_clone()?.into())
    }

    /// Connections to the servers that wait now, none of which was greeted.
    fn visitors(&self) -> Vec<OwnedFd> {
        // The folder itself, whatever lies at its path by now.
        let path = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let sockets = names.filter(|name| name.ends_with(SUFFIX)).take(SOCKETS_MAX);
        // One that nobody listens on any more was left by a server that has gone.
        sockets.filter_map(|name| sys::connect_outside(&format!("{path}/{name}")).ok()).collect()
    }

    /// Answers the bell: connections to the servers that wait, each of which was greeted.
    pub(crate) fn answer(&self) -> Vec<OwnedFd> {
        // Any number of calls may stand behind one look.
        let mut rung = [0; 4096];
        drop((&self.bell).read(&mut rung));
        let Ok(greeting) = protocol::encode(&Greeting::Serving { protocol: self.protocol }) else {
            return Vec::new();
        };
        // A new connection has room for so little.
        let greet = |visitor: &OwnedFd| send_with(visitor.as_fd(), &greeting, &self.listeners).is_ok();
        self.visitors().into_iter().filter(greet).collect()
    }

    fn wait(&self) -> io::Result<()> {
        let mut set = [PollFd::new(&self.bell, PollFlags::IN)];
        retry_on_intr(|| rustix::event::poll(&mut set, None))?;
        let mut rung = [0; 4096];
        drop((&self.bell).read(&mut rung));
        Ok(())
    }
}
