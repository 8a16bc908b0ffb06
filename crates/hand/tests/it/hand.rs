//! A running hand, and a server's side of a connection to it.

#![expect(unsafe_code, reason = "passes descriptors, which the standard library cannot")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hand::protocol::CallState;
use hand::protocol::Decoder;
use hand::protocol::Request;
use hand::protocol::Response;
use hand::protocol::control;
use hand::protocol::encode;
use hand::protocol::operation::Answer;
use hand::protocol::operation::Operation;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tempfile::TempDir;

/// Longer than any test waits unless it fails.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Hand {
    pub(crate) child: Child,
    pub(crate) control: Option<OwnedFd>,
    folder: Rc<TempDir>,
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
    /// Results that came while another was awaited.
    early: Vec<Finished>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) content: Vec<Value>,
    pub(crate) is_error: bool,
}

impl Finished {
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.content.len(), 1, "{self:?}");
        assert_eq!(self.content[0]["type"], "text");
        self.content[0]["text"].as_str().unwrap()
    }
}

impl Hand {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["workspace", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self::start_over(Rc::new(folder), &[])
    }

    /// Over files that are there, with further variables (`NAME=VALUE`) for its shells.
    pub(crate) fn start_over(folder: Rc<TempDir>, variables: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hand"));
        command.arg("--unconfined").arg(folder.path()).args(variables).env_clear();
        let (child, control) = launch(&mut command, || Ok(()));
        Self { child, control: Some(control), folder }
    }

    /// A hand that was started in another way.
    pub(crate) fn started(child: Child, control: OwnedFd) -> Self {
        Self { child, control: Some(control), folder: Rc::new(TempDir::new().unwrap()) }
    }

    /// Ends it, and starts another over the same files.
    pub(crate) fn again(self) -> Self {
        let folder = Rc::clone(&self.folder);
        drop(self);
        Self::start_over(folder, &[])
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    pub(crate) fn connect(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        ours.set_write_timeout(Some(PATIENCE)).unwrap();
        self.send_control(control::ADOPT, Some(&theirs));
        Client { stream: ours, decoder: Decoder::default(), early: Vec::new() }
    }

    pub(crate) fn send_control(&self, message: u8, descriptor: Option<&UnixStream>) {
        send(self.control.as_ref().unwrap(), &[message], descriptor);
    }

    /// Children of the hand, with the letter of their state.
    pub(crate) fn children(&self) -> Vec<(u32, char)> {
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            if fields[1] == self.child.id().to_string() {
                children.push((pid, fields[0].chars().next().unwrap()));
            }
        }
        children
    }
}

/// Starts the program with a socket for its spawner, whose other end is answered. `prepare` runs in the new process.
pub(crate) fn launch(
    command: &mut Command,
    prepare: impl Fn() -> std::io::Result<()> + Send + Sync + 'static,
) -> (Child, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for both descriptors, which are ours from then on.
    let (ours, theirs) = unsafe {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    let source = theirs.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            if source == control::FD {
                libc::fcntl(source, libc::F_SETFD, 0);
            } else {
                libc::dup2(source, control::FD);
            }
            prepare()
        });
    }
    (command.spawn().unwrap(), ours)
}

/// Sends a packet of the spawner, with a descriptor if there is one.
pub(crate) fn send(control: &OwnedFd, message: &[u8], descriptor: Option<&UnixStream>) {
    let mut message = message.to_vec();
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    let mut space = [0_u64; 4];
    // SAFETY: a zeroed header is valid; each pointer in it is to a live local with its true length, and the one control entry
    // fits in `space`.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if let Some(descriptor) = descriptor {
            header.msg_control = space.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(4) as _;
            let entry = libc::CMSG_FIRSTHDR(&raw const header);
            (*entry).cmsg_level = libc::SOL_SOCKET;
            (*entry).cmsg_type = libc::SCM_RIGHTS;
            (*entry).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(entry).cast::<i32>().write_unaligned(descriptor.as_raw_fd());
        }
        libc::sendmsg(control.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    assert_eq!(usize::try_from(sent), Ok(message.len()));
}

impl Drop for Hand {
    fn drop(&mut self) {
        // The hand ends everything it started when its spawner goes away.
        self.control = None;
        self.child.wait().unwrap();
    }
}

impl Client {
    pub(crate) fn send(&mut self, request: &Request) {
        self.stream.write_all(&encode(request).unwrap()).unwrap();
    }

    pub(crate) fn execute(&mut self, id: &str, thread: &str, tool: &str, input: &Value) {
        let input = to_raw_value(input).unwrap().into();
        let (id, thread, tool) = (id.to_owned(), thread.to_owned(), tool.to_owned());
        self.send(&Request::Execute { id, thread, tool, input });
    }

    pub(crate) fn receive(&mut self) -> Response {
        let mut chunk = vec![0; 1 << 16];
        loop {
            if let Some(response) = self.decoder.message().unwrap() {
                return response;
            }
            let count = self.stream.read(&mut chunk).expect("the hand answers in time");
            assert!(count > 0, "the hand closed the connection");
            self.decoder.push(&chunk[..count]);
        }
    }

    /// The result of `id`, whatever else comes before.
    pub(crate) fn result(&mut self, id: &str) -> Finished {
        if let Some(position) = self.early.iter().position(|finished| finished.id == id) {
            return self.early.remove(position);
        }
        loop {
            let Response::Result { id: ended, content, is_error } = self.receive() else { continue };
            let content = content.iter().map(|block| serde_json::from_str(block.get()).unwrap()).collect();
            let finished = Finished { id: ended, content, is_error };
            if finished.id == id {
                return finished;
            }
            self.early.push(finished);
        }
    }

    /// Runs a tool to its end.
    pub(crate) fn call(&mut self, tool: &str, input: &Value) -> Finished {
        let id = next_id();
        self.execute(&id, "main", tool, input);
        self.result(&id)
    }

    /// Runs a command that succeeds, to its end.
    pub(crate) fn bash(&mut self, command: &str) -> String {
        let finished = self.call("bash", &serde_json::json!({ "command": command }));
        assert!(!finished.is_error, "{command}: {}", finished.text());
        finished.text().to_owned()
    }

    /// Runs a command that fails, to its end.
    pub(crate) fn failing_bash(&mut self, command: &str) -> String {
        let finished = self.call("bash", &serde_json::json!({ "command": command }));
        assert!(finished.is_error, "{command}: {}", finished.text());
        finished.text().to_owned()
    }

    pub(crate) fn operate(&mut self, id: &str, operation: Operation) {
        self.send(&Request::Operate { id: id.to_owned(), operation });
    }

    /// What came of an operation, and what was streamed of it before: one text for each output.
    pub(crate) fn answer(&mut self, id: &str) -> (Answer, [Vec<u8>; 2]) {
        let mut streamed = [Vec::new(), Vec::new()];
        loop {
            match self.receive() {
                Response::Answer { id: answered, answer } if answered == id => return (answer, streamed),
                Response::Output { id: printed, stream, bytes } if printed == id => {
                    streamed[stream as usize].extend(bytes);
                }
                _ => {}
            }
        }
    }

    /// Performs an operation to its end.
    pub(crate) fn perform(&mut self, operation: Operation) -> Answer {
        let id = next_id();
        self.operate(&id, operation);
        self.answer(&id).0
    }

    /// The answer to a recall.
    pub(crate) fn recall(&mut self, id: &str) -> CallState {
        self.send(&Request::Recall { id: id.to_owned() });
        loop {
            match self.receive() {
                Response::State { id: answered, state } if answered == id => return state,
                _ => {}
            }
        }
    }

    /// Puts the shells to rest.
    pub(crate) fn rest(&mut self) {
        self.send(&Request::Rest);
        while !matches!(self.receive(), Response::Rested) {}
    }

    /// Returns when everything sent before has been taken in.
    pub(crate) fn settle(&mut self) {
        self.send(&Request::Ping);
        while !matches!(self.receive(), Response::Pong) {}
    }
}

pub(crate) fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("sevt_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether there is such a process, and it has not ended.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}
