//! The process as the spawner starts it.

use std::io::ErrorKind;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;

use api::ids::SessionId;
use egress::Channel;
use egress::Grant;
use egress::Policy;
use egress::Reports;
use egress::decide::Rule;
use egress::grant::Secret;
use egress::grant::Substitution;
use egress::wire::Order;
use egress::wire::Report;
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
    let state = data_dir.join(egress::wire::FOLDER);
    drop(std::fs::create_dir(&state));
    std::os::unix::fs::chown(&state, Some(USER), Some(USER)).unwrap();
    let state = std::fs::File::open(state).unwrap();
    let (ours, theirs) = seqpacket_pair();
    let mut command = Command::new(env!("CARGO_BIN_EXE_egress-role"));
    command.args(["--id", &USER.to_string(), "--peer", "0"]).env_clear();
    let sources = [theirs.as_raw_fd(), state.as_raw_fd()];
    let place = move || {
        // SAFETY: dup takes plain integers. Copies past 20 come first, so that no target is a source.
        unsafe {
            let copies = sources.map(|source| libc::fcntl(source, libc::F_DUPFD, 20));
            for (copy, target) in copies.into_iter().zip([3, 4]) {
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

impl Process {
    /// Opens the door of a session, and returns where its sandbox connects.
    fn open(&self, session: &SessionId) -> SocketAddr {
        let (sockets, [_, _, _, transparent]) = listeners();
        self.order(&Order::Open { session: session.clone() }, &sockets);
        transparent
    }

    /// Ends it as a crash does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn order(&self, order: &Order, sockets: &[OwnedFd]) {
        let bytes = serde_json::to_vec(order).unwrap();
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        egress::wire::send(self.spawner.as_ref().unwrap().as_fd(), &bytes, &sockets).unwrap();
    }
}

/// What a sandbox is told that asks for a host by HTTP. Where it came in is where it was going, when nothing has
/// redirected it.
async fn ask(door: SocketAddr) -> String {
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_all(&mut stream).await
}

/// Answers once the process serves, which it does with everything given up.
async fn report(data_dir: &Path, session: &SessionId) -> Option<Report> {
    loop {
        match Reports::open(data_dir).report(session).await {
            Ok(report) => return report,
            Err(error) => {
                let source = error.source.kind();
                assert!(matches!(source, ErrorKind::NotFound | ErrorKind::ConnectionRefused), "{error:?}");
                tokio::task::yield_now().await;
            }
        }
    }
}

fn session(name: &str) -> SessionId {
    SessionId::parse(&format!("sesn_{name}")).unwrap()
}

fn granted(policy: Policy) -> Arc<Grant> {
    Arc::new(policy.into())
}

#[tokio::test]
async fn totals_outlive_the_process_and_are_forgotten_on_demand() {
    let data_dir = tempfile::tempdir().unwrap();
    let session = session("process");
    let channel = Channel::open(data_dir.path());
    let policy = limited(&["allowed.example"]);
    let mut refused = 0;
    for _ in 0..2 {
        let process = start(data_dir.path());
        channel.grant(&session, granted(policy.clone())).await.unwrap();
        let answer = ask(process.open(&session)).await;
        assert!(answer.contains("address_literal"), "{answer}");
        refused += 1;
        let report = report(data_dir.path(), &session).await.unwrap();
        assert_eq!(
            (report.totals.refused, report.recent.len()),
            (refused, usize::try_from(refused).unwrap())
        );
        assert_eq!(report.policy.as_ref(), Some(&policy));
        assert!(report.recent.iter().all(|entry| entry.rule == Rule::AddressLiteral));
    }
    let certificate = {
        let process = start(data_dir.path());
        let known = report(data_dir.path(), &session).await.unwrap();
        assert_eq!((known.totals.refused, known.policy), (2, None));
        let certificate = channel.authority(&session).await.unwrap();
        process.order(&Order::Close { session: session.clone(), forget: true }, &[]);
        while report(data_dir.path(), &session).await.is_some() {
            tokio::task::yield_now().await;
        }
        certificate
    };
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    let _process = start(data_dir.path());
    assert_ne!(channel.authority(&session).await.unwrap(), certificate);
}

#[tokio::test]
async fn a_grant_holds_for_its_session_whatever_dies() {
    let data_dir = tempfile::tempdir().unwrap();
    let (one, two) = (session("one"), session("two"));
    let channel = Channel::open(data_dir.path());
    let mut process = start(data_dir.path());
    channel.grant(&one, granted(limited(&[]))).await.unwrap();
    channel.grant(&two, granted(Policy::unrestricted())).await.unwrap();
    let check = async |process: &Process| {
        let (door_one, door_two) = (process.open(&one), process.open(&two));
        let answer = ask(door_one).await;
        assert!(answer.contains("address_literal"), "{answer}");
        let answer = ask(door_two).await;
        assert!(answer.contains("address_refused"), "{answer}");
    };
    check(&process).await;
    // The process is killed, and another one follows.
    process.kill();
    process = start(data_dir.path());
    check(&process).await;
    // The spawner is killed: the process ends with it, and both are started again.
    drop(process.spawner.take());
    assert!(process.child.wait().unwrap().success());
    process = start(data_dir.path());
    check(&process).await;
    // The server is killed: sandboxes go on as before, until the next server says something else.
    drop(channel);
    check(&process).await;
    let next = Channel::open(data_dir.path());
    next.grant(&two, granted(limited(&[]))).await.unwrap();
    let door = process.open(&two);
    assert!(ask(door).await.contains("address_literal"));
    // A sandbox that follows another one in the same session gets what the session was granted.
    process.order(&Order::Close { session: two.clone(), forget: false }, &[]);
    assert!(ask(process.open(&two)).await.contains("address_literal"));
    next.release(&two);
    while report(data_dir.path(), &two).await.unwrap().policy.is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_grant_that_no_message_can_carry_is_refused_and_the_others_hold() {
    let data_dir = tempfile::tempdir().unwrap();
    let process = start(data_dir.path());
    let channel = Channel::open(data_dir.path());
    let mut grant = Grant::from(Policy::unrestricted());
    grant.substitutions = vec![Substitution {
        placeholder: "x".repeat(400_000),
        secret: Secret::new("very secret"),
        hosts: Vec::new(),
    }];
    let error = channel.grant(&session("long"), Arc::new(grant)).await.unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidInput);
    channel.grant(&session("short"), granted(limited(&[]))).await.unwrap();
    process.kill();
    let process = start(data_dir.path());
    assert!(ask(process.open(&session("short"))).await.contains("address_literal"));
}

#[tokio::test]
async fn a_server_tells_nothing_to_who_is_not_the_egress_process() {
    let data_dir = tempfile::tempdir().unwrap();
    let process = start(data_dir.path());
    assert!(report(data_dir.path(), &session("none")).await.is_none());
    // The folder belongs to somebody else than the one who listens.
    let folder = data_dir.path().join(egress::wire::FOLDER);
    std::os::unix::fs::chown(&folder, Some(USER + 1), None).unwrap();
    let error = Reports::open(data_dir.path()).report(&session("none")).await.unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::PermissionDenied);
    drop(process);
}

#[tokio::test]
async fn the_process_has_no_power_and_ends_with_its_spawner() {
    let data_dir = tempfile::tempdir().unwrap();
    let mut process = start(data_dir.path());
    assert!(report(data_dir.path(), &session("none")).await.is_none());
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
    let session = session("odd");
    let spawner = process.spawner.as_ref().unwrap().as_fd();
    egress::wire::send(spawner, b"nonsense", &[]).unwrap();
    // Longer than any message may be.
    egress::wire::send(spawner, &vec![b' '; 180_000], &[]).unwrap();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    file.try_clone().map(std::fs::File::from).unwrap().write_all(b"no socket").unwrap();
    let sockets = [file.try_clone().unwrap(), file.try_clone().unwrap(), file];
    process.order(&Order::Open { session: session.clone() }, &sockets);
    let report = report(data_dir.path(), &session).await;
    assert!(report.is_none_or(|report| report.policy.is_none()));
}
