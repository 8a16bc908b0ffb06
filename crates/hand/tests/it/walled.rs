//! A hand within its walls, over a root file system of a few links and the host's `/usr`.
//!
//! The host's own `unshare` makes the namespaces, as the spawner would. As root, ids are mapped through a user namespace
//! that waits in a process of its own; without privilege, the hand is born into one.

#![expect(unsafe_code, reason = "passes descriptors, which the standard library cannot")]

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use hand::confine::Bind;
use hand::confine::Identity;
use hand::confine::Spec;
use hand::confine::USER_NAMESPACE_FD;
use hand::protocol::control;
use hand::start::Start;
use tempfile::TempDir;

use crate::hand::Hand;

/// First host id of the sandboxes; apart from those of any spawner.
const FIRST: u32 = 0x6fff_0000;
const IDS: u32 = 0x1_0000;

/// Who makes the walls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Root,
    Nobody,
}

/// A folder for the files of sandboxes.
pub(crate) struct Ground {
    maker: Maker,
    folder: TempDir,
}

/// A hand that has raised its walls, and what came with the news.
pub(crate) struct Walled {
    pub(crate) hand: Hand,
    pub(crate) listeners: Vec<OwnedFd>,
}

impl Ground {
    pub(crate) fn new(maker: Maker) -> Self {
        let folder = TempDir::new().unwrap();
        let ground = Self { maker, folder };
        for path in [
            "stage",
            "own/upper",
            "own/work",
            "base/etc",
            "base/tmp",
            "base/root",
            "base/workspace",
            "base/usr",
        ] {
            fs::create_dir_all(ground.path(path)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, ground.path("base").join(name)).unwrap();
            }
        }
        fs::write(ground.path("base/etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
        ground.give_away();
        ground
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A sandbox over these folders. What is to be different about it is changed in `spec`.
    pub(crate) fn start(&self, change: impl FnOnce(&mut Spec)) -> Walled {
        let mut spec = self.spec();
        change(&mut spec);
        self.give_away();
        let mut holder = (self.maker == Maker::Root).then(hold_user_namespace);
        let namespace =
            holder.as_ref().map(|holder| File::open(format!("/proc/{}/ns/user", holder.id())).unwrap());
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for both descriptors, which are ours from then on.
        let (ours, theirs) = unsafe {
            let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
            assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()), 0);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]);
        if self.maker == Maker::Nobody {
            command.args(["--user", "--map-root-user"]).uid(65534).gid(65534);
        }
        command.arg(self.program()).env_clear();
        let (socket, namespace_fd) = (theirs.as_raw_fd(), namespace.as_ref().map(AsRawFd::as_raw_fd));
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(move || {
                // Copies above the fixed numbers first, so that neither overwrites the other.
                let socket = libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, 10);
                let namespace = namespace_fd.map(|fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10));
                libc::dup2(socket, control::FD);
                if let Some(namespace) = namespace {
                    libc::dup2(namespace, USER_NAMESPACE_FD);
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(theirs);
        let spec = serde_json::to_vec(&Start::Sandbox(spec)).unwrap();
        // SAFETY: pointer and length belong to the same message.
        let sent = unsafe { libc::send(ours.as_raw_fd(), spec.as_ptr().cast(), spec.len(), 0) };
        assert_eq!(usize::try_from(sent).unwrap(), spec.len());
        let (said, listeners) = receive(&ours);
        assert_eq!(said.first(), Some(&control::READY), "{}", String::from_utf8_lossy(&said));
        if let Some(holder) = &mut holder {
            drop(holder.stdin.take());
            holder.wait().unwrap();
        }
        Walled { hand: Hand::started(child, ours), listeners }
    }

    fn spec(&self) -> Spec {
        let identity = match self.maker {
            Maker::Root => Identity::Range { first: FIRST },
            Maker::Nobody => Identity::Entered { has_groups: false },
        };
        Spec {
            identity,
            stage: self.path("stage"),
            lowers: vec![self.path("base")],
            writable: self.path("own"),
            binds: vec![Bind {
                source: "/usr".into(),
                target: "/usr".into(),
                is_writable: false,
                may_be_unmapped: true,
            }],
            overlays: Vec::new(),
            writes_names: true,
            shared_memory_bytes_max: 1 << 20,
            processes_max: 1000,
            data_bytes_max: None,
            file_bytes_max: None,
            has_network: false,
            variables: Vec::new(),
        }
    }

    /// The program where everybody can run it.
    fn program(&self) -> PathBuf {
        let copy = self.path("hand");
        if !copy.exists() {
            fs::copy(env!("CARGO_BIN_EXE_hand"), &copy).unwrap();
        }
        copy
    }

    /// Files belong to who makes the walls.
    fn give_away(&self) {
        if self.maker == Maker::Nobody {
            let given =
                Command::new("/usr/bin/chown").args(["-R", "65534:65534"]).arg(self.folder.path()).status();
            assert!(given.unwrap().success());
        }
    }
}

/// A process in a user namespace that maps the ids of a sandbox. It ends when its standard input does.
fn hold_user_namespace() -> Child {
    let mut holder = Command::new("/usr/bin/unshare")
        .args(["--user", "/usr/bin/sh", "-c", "echo in; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "in\n");
    for kind in ["uid", "gid"] {
        fs::write(format!("/proc/{}/{kind}_map", holder.id()), format!("0 {FIRST} {IDS}\n")).unwrap();
    }
    holder
}

/// The next message of a hand, and what is attached to it.
fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = vec![0; 4096];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut space = [0_u64; 16];
    let mut fds = Vec::new();
    // SAFETY: a zeroed header is valid; each pointer in it is to a live local with its true length. The kernel has made the
    // descriptors for us, and the macros stay inside what it wrote.
    let length = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = space.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&space) as _;
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC);
        let entry = libc::CMSG_FIRSTHDR(&raw const header);
        if !entry.is_null() {
            let length = (*entry).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let numbers = std::slice::from_raw_parts(libc::CMSG_DATA(entry), length);
            let number = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().unwrap());
            fds.extend(numbers.chunks_exact(4).map(|bytes| OwnedFd::from_raw_fd(number(bytes))));
        }
        length
    };
    bytes.truncate(usize::try_from(length).expect("the hand says something"));
    (bytes, fds)
}
