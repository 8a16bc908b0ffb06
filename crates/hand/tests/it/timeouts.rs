//! Calls that are brought to an end.

use std::fs;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hand::protocol::Request;
use serde_json::json;

use crate::hand::Client;
use crate::hand::Hand;
use crate::hand::lives;

const INTERRUPTED: &str = "Tool execution was interrupted before completion. Please retry.";

/// A command that tells through `path` that it has begun.
fn begin(client: &mut Client, id: &str, thread: &str, command: &str, path: &Path) {
    let command = format!("echo >{}; {command}", path.display());
    client.execute(id, thread, "bash", &json!({ "command": command }));
    wait_for(path);
}

fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never came", path.display());
        std::thread::yield_now();
    }
}

fn cancel(client: &mut Client, id: &str) {
    client.send(&Request::Cancel { id: id.to_owned() });
    let finished = client.result(id);
    assert_eq!((finished.is_error, finished.text()), (true, INTERRUPTED));
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_the_shell_stays_where_it_was() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkdir sub; f() { echo f; }");
    let finished = client.call(
        "bash",
        &json!({"command": "cd sub; A=1; echo part; sleep 1000; echo more", "timeout_ms": 300}),
    );
    let text = finished.text();
    assert!(
        finished.is_error && text.starts_with("part\nbash: bash command timed out after 0.3s\n[the shell"),
        "{text}"
    );
    assert_eq!(client.bash("basename $PWD; echo $A; f"), "sub\n1\nf");
    assert_eq!(hand.children().len(), 1, "only the shell is left");
}

#[test]
fn nothing_of_a_stubborn_call_is_left() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let command = "trap '' INT TERM; sh -c 'trap \"\" INT TERM; echo $$ >pid; while :; do sleep 1; done'";
    let started = Instant::now();
    let finished = client.call("bash", &json!({ "command": command, "timeout_ms": 300 }));
    assert!(finished.text().contains("bash: bash command timed out after 0.3s"), "{}", finished.text());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!lives(&fs::read_to_string(hand.workspace().join("pid")).unwrap()));
    assert_eq!(client.bash("echo next"), "next");
}

#[test]
fn stuck_and_stopped_shells_are_replaced() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("export A=1");
    for command in
        ["while :; do :; done", "trap '' INT TERM; while :; do :; done", "kill -STOP $$", "exec sleep 1000"]
    {
        let finished = client.call("bash", &json!({ "command": command, "timeout_ms": 200 }));
        assert!(finished.text().contains("timed out after 0.2s"), "{command}: {}", finished.text());
        assert_eq!(client.bash("echo $A"), "1", "after {command}");
    }
}

#[test]
fn daemons_of_the_call_end_with_it_and_those_of_earlier_calls_do_not() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash(
        "sleep 1000 >/dev/null 2>&1 & echo $! >early; (setsid sleep 1000 & echo $! >early2) >/dev/null 2>&1",
    );
    let command = "(setsid sh -c 'echo $$ >late; exec sleep 1000' &) >/dev/null 2>&1; sleep 1000";
    client.call("bash", &json!({ "command": command, "timeout_ms": 300 }));
    let pid = |name: &str| fs::read_to_string(hand.workspace().join(name)).unwrap();
    assert!(!lives(&pid("late")));
    assert!(lives(&pid("early")) && lives(&pid("early2")));
}

#[test]
fn a_cancelled_call_leaves_its_neighbours_alone() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let path = |name: &str| hand.workspace().join(name);
    client.bash("mkfifo fifo");
    let command =
        "(setsid sleep 1000 & echo $! >pid) >/dev/null 2>&1; cat fifo; kill $(cat pid) && echo done";
    begin(&mut client, "neighbour", "other", command, &path("b"));
    begin(&mut client, "victim", "main", "(setsid sleep 1000 &) ; sleep 1000", &path("a"));
    client.execute("queued", "main", "bash", &json!({"command": "echo never"}));
    client.execute("after", "main", "bash", &json!({"command": "echo after"}));
    cancel(&mut client, "queued");
    cancel(&mut client, "victim");
    assert!(client.result("after").text().starts_with("after"));
    fs::write(path("fifo"), "x").unwrap();
    assert_eq!(client.result("neighbour").text(), "xdone");
}

#[test]
fn cancelling_takes_half_a_second_at_worst() {
    let hand = Hand::start();
    let mut client = hand.connect();
    begin(&mut client, "one", "main", "sleep 1000", &hand.workspace().join("a"));
    let started = Instant::now();
    cancel(&mut client, "one");
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    client.send(&Request::Cancel { id: "unknown".to_owned() });
    client.settle();
}

#[test]
fn a_cancelled_file_tool_is_killed() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let file = fs::File::create(hand.workspace().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    client.execute("read", "main", "read", &json!({"file_path": "sparse", "view_range": [2, 3]}));
    assert_eq!(client.recall("read"), hand::protocol::CallState::Running);
    cancel(&mut client, "read");
    client.settle();
    while !hand.children().is_empty() {
        std::thread::yield_now();
    }
}
