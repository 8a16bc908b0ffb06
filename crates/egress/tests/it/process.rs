//! The process as the spawner starts it.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;

use api::ids::SessionId;
use egress::Policy;
use egress::Reports;
use egress::decide::Rule;
use egress::wire::Order;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::stage::limited;
use crate::stage::listeners;
use crate::stage::read_all;

/// A user that nobody else is.
const USER: u32 = 61_234;

/// The process, ended with this.
struct Process {
    child: Child,
    spawner: Option<OwnedFd>,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the process over a data folder, as the spawner does.
#[expect(unsafe_code, reason = "descriptors are placed between fork and exec")]
fn start(data_dir: &Path) -> Process {
    let state = data_dir.join("egress");
    drop(std::fs::create_dir(&state));
    std::os::unix::fs::chown(&state, Some(USER), Some(USER)).unwrap();
    drop(std::fs::remove_file(data_dir.join(egress::wire::SOCKET)));
    let listener = seqpacket_listener(&data_dir.join(egress::wire::SOCKET));
    let state = std::fs::File::open(state).unwrap();
    let (ours, theirs) = seqpacket_pair();
    let mut command = Command::new(env!("CARGO_BIN_EXE_egress-role"));
    command.args(["--id", &USER.to_string(), "--peer", "0"]).env_clear();
    let sources = [theirs.as_raw_fd(), listener.as_raw_fd(), state.as_raw_fd()];
    let place = move || {
        // SAFETY: dup takes plain integers. Copies past 20 come first, so that no target is a source.
        unsafe {
            let copies = sources.map(|source| libc::fcntl(source, libc::F_DUPFD, 20));
            for (copy, target) in copies.into_iter().zip([3, 4, 5]) {
                libc::dup2(copy, target);
                libc::close(copy);
            }
        }
        Ok(())
    };
    // SAFETY: `place` makes only system calls that are safe between fork and exec.
    unsafe { command.pre_exec(place) };
    Process { child: command.spawn().unwrap(), spawner: Some(ours) }
}

#[expect(unsafe_code, reason = "the standard library has no sockets of messages")]
fn seqpacket_pair() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for both, and both are new.
    unsafe {
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()),
            0
        );
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

#[expect(unsafe_code, reason = "the standard library has no sockets of messages")]
fn seqpacket_listener(path: &Path) -> OwnedFd {
    let path = path.to_str().unwrap();
    // SAFETY: plain data, an address that is filled in before its use, and a descriptor that is new.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = 1;
        for (to, from) in address.sun_path.iter_mut().zip(path.as_bytes()) {
            *to = from.cast_signed();
        }
        let length = u32::try_from(size_of::<libc::sockaddr_un>()).unwrap();
        assert_eq!(libc::bind(fd, (&raw const address).cast(), length), 0);
        assert_eq!(libc::listen(fd, 8), 0);
        OwnedFd::from_raw_fd(fd)
    }
}

impl Process {
    fn order(&self, order: &Order, sockets: &[OwnedFd]) {
        let bytes = serde_json::to_vec(order).unwrap();
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        egress::wire::send(self.spawner.as_ref().unwrap().as_fd(), &bytes, &sockets).unwrap();
    }
}

#[tokio::test]
async fn totals_outlive_the_process_and_are_forgotten_on_demand() {
    let data_dir = tempfile::tempdir().unwrap();
    let session = SessionId::parse("sesn_process").unwrap();
    let client = Reports::open(data_dir.path());
    let policy = limited(&["allowed.example"]);
    let mut refused = 0;
    for _ in 0..2 {
        let process = start(data_dir.path());
        let (sockets, [_, _, _, transparent]) = listeners();
        process.order(&Order::Open { session: session.clone(), policy: policy.clone() }, &sockets);
        drop(sockets);
        // Where it came in is where it was going, when nothing has redirected it.
        let mut stream = TcpStream::connect(transparent).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.contains("address_literal"), "{answer}");
        refused += 1;
        let report = client.report(&session).await.unwrap().unwrap();
        assert_eq!(
            (report.totals.refused, report.recent.len()),
            (refused, usize::try_from(refused).unwrap())
        );
        assert_eq!(report.policy.as_ref(), Some(&policy));
        assert!(report.recent.iter().all(|entry| entry.rule == Rule::AddressLiteral));
    }
    let process = start(data_dir.path());
    let report = client.report(&session).await.unwrap().unwrap();
    assert_eq!((report.totals.refused, report.policy), (2, None));
    process.order(&Order::Close { session: session.clone(), forget: true }, &[]);
    while client.report(&session).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_process_has_no_power_and_ends_with_its_spawner() {
    let data_dir = tempfile::tempdir().unwrap();
    let mut process = start(data_dir.path());
    let session = SessionId::parse("sesn_none").unwrap();
    // An answer means that it has begun to serve, with everything given up.
    assert!(Reports::open(data_dir.path()).report(&session).await.unwrap().is_none());
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.child.id())).unwrap();
    let mut count = 0;
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let user = USER.to_string();
        assert_eq!(field("Uid:"), [user.as_str(); 4]);
        assert_eq!(field("Gid:"), [user.as_str(); 4]);
        assert!(field("Groups:").is_empty());
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec!["1".to_owned()], vec!["2".to_owned()]));
        count += 1;
    }
    assert!(count >= 2);
    drop(process.spawner.take());
    assert!(process.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_message_that_makes_no_sense_changes_nothing() {
    let data_dir = tempfile::tempdir().unwrap();
    let process = start(data_dir.path());
    let session = SessionId::parse("sesn_odd").unwrap();
    let spawner = process.spawner.as_ref().unwrap().as_fd();
    egress::wire::send(spawner, b"nonsense", &[]).unwrap();
    // Longer than any message may be.
    egress::wire::send(spawner, &vec![b' '; 180_000], &[]).unwrap();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    file.try_clone().map(std::fs::File::from).unwrap().write_all(b"no socket").unwrap();
    let sockets = [file.try_clone().unwrap(), file.try_clone().unwrap(), file];
    process.order(&Order::Open { session: session.clone(), policy: Policy::unrestricted() }, &sockets);
    let report = Reports::open(data_dir.path()).report(&session).await.unwrap();
    assert!(report.is_none_or(|report| report.policy.is_none()));
}
