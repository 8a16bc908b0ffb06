//! Programs that the server runs.

use std::fs;
use std::path::PathBuf;

use hand::protocol::CallState;
use hand::protocol::Request;
use hand::protocol::control;
use hand::protocol::operation::Answer;
use hand::protocol::operation::Captured;
use hand::protocol::operation::End;
use hand::protocol::operation::Exec;
use hand::protocol::operation::Exited;
use hand::protocol::operation::FailureKind;
use hand::protocol::operation::Operation;
use hand::protocol::operation::STDIN_BYTES_MAX;

use crate::hand::Client;
use crate::hand::Hand;
use crate::hand::lives;
use crate::hand::send;

fn exec(arguments: &[&str]) -> Exec {
    Exec {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        folder: None,
        variables: Vec::new(),
        stdin: Vec::new(),
        time_ms: 60_000,
        output_bytes_max: 1_000,
        merges_stderr: false,
        is_streamed: false,
    }
}

fn script(script: &str) -> Exec {
    exec(&["bash", "-c", script])
}

fn exited(answer: Answer) -> Exited {
    let Answer::Exited(exited) = answer else { panic!("{answer:?}") };
    exited
}

fn text(captured: &Captured) -> &str {
    std::str::from_utf8(&captured.tail).unwrap()
}

fn failure(client: &mut Client, exec: Exec) -> (FailureKind, String) {
    let answer = client.perform(Operation::Exec(exec));
    let Answer::Failed(failure) = answer else { panic!("{answer:?}") };
    (failure.kind, failure.message)
}

#[test]
fn a_program_gets_its_arguments_input_folder_and_variables() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fs::create_dir(hand.workspace().join("below")).unwrap();
    let script = r#"printf '%s|' "$0" "$1" "$A" "$HOME"; pwd; cat; echo wrong >&2; exit 7"#;
    let answer = client.perform(Operation::Exec(Exec {
        arguments: ["bash", "-c", script, "a b", "$HOME"].map(str::to_owned).into(),
        folder: Some(PathBuf::from("below")),
        variables: vec![("A".to_owned(), "ä".to_owned())],
        stdin: b"in\n".to_vec(),
        ..exec(&[])
    }));
    let Exited { end, stdout, stderr } = exited(answer);
    let folder = hand.workspace();
    let home = folder.with_file_name("home");
    assert_eq!(text(&stdout), format!("a b|$HOME|ä|{}|{}/below\nin\n", home.display(), folder.display()));
    assert_eq!((end, text(&stderr)), (End::Status(7), "wrong\n"));
}

#[test]
fn an_answer_carries_the_end_of_what_was_printed() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let long = Exec { output_bytes_max: 6, ..script("seq 100000; echo x >&2") };
    let Exited { end, stdout, stderr } = exited(client.perform(Operation::Exec(long)));
    assert_eq!((end, stdout.bytes_total, text(&stdout)), (End::Status(0), 588_895, "00000\n"));
    assert_eq!((stderr.bytes_total, text(&stderr)), (2, "x\n"));
    let merged = Exec { merges_stderr: true, ..script("echo a; echo b >&2; echo c") };
    let Exited { stdout, stderr, .. } = exited(client.perform(Operation::Exec(merged)));
    assert_eq!((text(&stdout), stderr.bytes_total), ("a\nb\nc\n", 0));
}

#[test]
fn output_is_streamed_as_it_comes_and_whole() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo go");
    let streamed = Exec { is_streamed: true, ..script("echo first; cat go; seq 1000000; echo last >&2") };
    client.operate("run", Operation::Exec(streamed));
    let first = loop {
        if let hand::protocol::Response::Output { bytes, .. } = client.receive() {
            break bytes;
        }
    };
    assert_eq!(first, b"first\n");
    fs::write(hand.workspace().join("go"), "go\n").unwrap();
    let (answer, [stdout, stderr]) = client.answer("run");
    assert_eq!(stdout.len() as u64 + 6, exited(answer).stdout.bytes_total);
    assert!(stdout.starts_with(b"go\n1\n2\n") && stdout.ends_with(b"\n1000000\n"));
    assert_eq!(stderr, b"last\n");
}

#[test]
fn a_connection_that_does_not_read_holds_its_program_up_and_nothing_else() {
    let hand = Hand::start();
    let (mut slow, mut other) = (hand.connect(), hand.connect());
    let endless = Exec { is_streamed: true, time_ms: 1_000, ..script("yes & while :; do :; done") };
    slow.operate("run", Operation::Exec(endless));
    // Far less than it prints in a second without anybody who slows it down.
    let exited = exited(other.answer("run").0);
    assert_eq!(exited.end, End::TimedOut);
    assert!(exited.stdout.bytes_total < 64 << 20, "{}", exited.stdout.bytes_total);
    assert_eq!(other.bash("echo fine"), "fine");
    let (_, [stdout, _]) = slow.answer("run");
    assert!(stdout.len() as u64 <= exited.stdout.bytes_total);
}

#[test]
fn a_program_runs_once_per_id_and_its_answer_waits() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let run = || Operation::Exec(script("echo run >>counter; cat counter"));
    client.operate("run", run());
    let first = client.answer("run").0;
    drop(client);
    let mut client = hand.connect();
    client.operate("run", run());
    assert_eq!(client.answer("run").0, first);
    assert_eq!(client.recall("run"), CallState::Finished);
    client.send(&Request::Acknowledge { ids: vec!["run".to_owned()] });
    assert_eq!(client.recall("run"), CallState::Unknown);
    client.operate("run", run());
    let Answer::Failed(failure) = client.answer("run").0 else { panic!("it ran again") };
    assert_eq!(failure.kind, FailureKind::Repeated);
    assert_eq!(fs::read_to_string(hand.workspace().join("counter")).unwrap(), "run\n");
}

#[test]
fn a_program_that_is_ended_takes_all_it_started_with_it() {
    let hand = Hand::start();
    let mut client = hand.connect();
    // Children that hear no TERM and leave the session, one of them as an orphan.
    let stubborn = "trap '' TERM; setsid sleep 1000 & echo $! >one; (setsid sleep 1001 & echo $! >two); \
                    echo up; wait";
    let pids = || ["one", "two"].map(|name| fs::read_to_string(hand.workspace().join(name)).unwrap());
    let timed = Exec { time_ms: 300, ..script(stubborn) };
    let Exited { end, stdout, .. } = exited(client.perform(Operation::Exec(timed)));
    assert_eq!((end, text(&stdout)), (End::TimedOut, "up\n"));
    assert!(pids().iter().all(|pid| !lives(pid)));
    let streamed = Exec { is_streamed: true, ..script(stubborn) };
    client.operate("run", Operation::Exec(streamed));
    while !matches!(client.receive(), hand::protocol::Response::Output { .. }) {}
    client.send(&Request::Cancel { id: "run".to_owned() });
    assert_eq!(exited(client.answer("run").0).end, End::Cancelled);
    assert!(pids().iter().all(|pid| !lives(pid)));
}

#[test]
fn what_a_program_leaves_in_the_background_goes_on() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo go");
    let Exited { end, stdout, .. } =
        exited(client.perform(Operation::Exec(script("echo $$; { cat go; echo done >result; } & disown"))));
    assert_eq!((end, text(&stdout).lines().count()), (End::Status(0), 1));
    fs::write(hand.workspace().join("go"), "go\n").unwrap();
    assert_eq!(client.bash("while [ ! -e result ]; do :; done; cat result"), "done");
}

#[test]
fn stopping_everything_says_so() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.operate("run", Operation::Exec(Exec { is_streamed: true, ..script("echo up; sleep 1000") }));
    while !matches!(client.receive(), hand::protocol::Response::Output { .. }) {}
    send(hand.control.as_ref().unwrap(), &[&[control::FULL], b"no room".as_slice()].concat(), None);
    assert_eq!(exited(client.answer("run").0).end, End::Stopped("no room".to_owned()));
}

#[test]
fn what_cannot_be_run_says_why() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let (kind, message) = failure(&mut client, exec(&["no-such-program"]));
    assert_eq!(kind, FailureKind::NotFound);
    assert!(message.starts_with("run no-such-program: No such file"), "{message}");
    let lost = Exec { folder: Some("/no/such/folder".into()), ..exec(&["true"]) };
    assert!(failure(&mut client, lost).1.starts_with("run true in /no/such/folder: No such file"));
    assert_eq!(failure(&mut client, exec(&["/etc/passwd"])).0, FailureKind::Denied);
    let invalid = [
        exec(&[]),
        exec(&["a\0b"]),
        Exec { time_ms: u64::MAX, ..exec(&["true"]) },
        Exec { output_bytes_max: u32::MAX, ..exec(&["true"]) },
        Exec { stdin: vec![0; STDIN_BYTES_MAX + 1], ..exec(&["true"]) },
        Exec { variables: vec![("A".to_owned(), "\0".to_owned())], ..exec(&["true"]) },
    ];
    for exec in invalid {
        assert_eq!(failure(&mut client, exec).0, FailureKind::Invalid);
    }
    assert_eq!(exited(client.perform(Operation::Exec(exec(&["true"])))).end, End::Status(0));
    assert_eq!(exited(client.perform(Operation::Exec(script("kill -9 $$")))).end, End::Signal(9));
}
