//! The table of calls, connections, and the life of the process.

use std::fs;
use std::io::Read;

use hand::protocol::CallState;
use hand::protocol::Request;
use hand::protocol::Response;
use hand::protocol::control;
use serde_json::json;

use crate::hand::Hand;
use crate::hand::lives;

#[test]
fn a_call_that_is_executed_twice_runs_once() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let input = json!({"command": "echo run >>counter; echo $RANDOM"});
    client.execute("call", "main", "bash", &input);
    client.execute("call", "main", "bash", &input);
    let first = client.result("call");
    client.settle();
    client.execute("call", "main", "bash", &input);
    assert_eq!(client.result("call"), first);
    client.send(&Request::Acknowledge { ids: vec!["call".to_owned()] });
    client.execute("call", "main", "bash", &input);
    let text = "this call ran before and its result was acknowledged; it was not run again";
    assert_eq!(client.result("call").text(), text);
    assert_eq!(fs::read_to_string(hand.workspace().join("counter")).unwrap(), "run\n");
}

#[test]
fn a_result_waits_for_whoever_acknowledges_it() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo go");
    client.execute("call", "main", "bash", &json!({"command": "cat go; echo late"}));
    assert_eq!(client.recall("call"), CallState::Running);
    assert_eq!(client.recall("other"), CallState::Unknown);
    drop(client);
    let mut client = hand.connect();
    assert_eq!(client.recall("call"), CallState::Running);
    fs::write(hand.workspace().join("go"), "gone\n").unwrap();
    assert_eq!(client.result("call").text(), "gone\nlate");
    drop(client);
    let mut client = hand.connect();
    assert_eq!(client.recall("call"), CallState::Finished);
    assert_eq!(client.result("call").text(), "gone\nlate");
    client.send(&Request::Acknowledge { ids: vec!["call".to_owned(), "other".to_owned()] });
    assert_eq!(client.recall("call"), CallState::Unknown);
}

#[test]
fn results_are_pushed_to_every_connection() {
    let hand = Hand::start();
    let (mut one, mut other) = (hand.connect(), hand.connect());
    other.settle();
    one.execute("call", "main", "bash", &json!({"command": "echo x"}));
    assert_eq!(other.result("call"), one.result("call"));
}

#[test]
fn a_peer_that_talks_nonsense_or_never_reads_loses_only_its_connection() {
    let hand = Hand::start();
    let mut good = hand.connect();
    for nonsense in [b"\xff\xff\xff\xff".as_slice(), b"\x02\0\0\0{}", b"\x01\0\0\0x"] {
        let mut bad = hand.connect();
        std::io::Write::write_all(&mut bad.stream, nonsense).unwrap();
        assert_eq!(bad.stream.read(&mut [0; 64]).unwrap_or(0), 0);
    }
    let mut silent = hand.connect();
    silent.settle();
    let size = 14 << 20;
    let mut pdf = b"%PDF-".to_vec();
    pdf.resize(size, b'x');
    fs::write(hand.workspace().join("big"), pdf).unwrap();
    for index in 0..8 {
        let id = format!("big{index}");
        good.execute(&id, "main", "read", &json!({"file_path": "big"}));
        assert_eq!(good.result(&id).content[0]["type"], "document");
        good.send(&Request::Acknowledge { ids: vec![id] });
    }
    good.settle();
    let mut received = 0;
    let mut chunk = vec![0; 1 << 20];
    while let Ok(count @ 1..) = silent.stream.read(&mut chunk) {
        received += count;
    }
    assert!(received < 8 * size, "the connection was closed before it had everything");
    assert_eq!(good.bash("echo fine"), "fine");
}

#[test]
fn threads_have_shells_of_their_own_that_work_side_by_side() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo one two; x=main");
    client.execute("a", "a", "bash", &json!({"command": "x=a; cat one; echo $x"}));
    client.execute("b", "b", "bash", &json!({"command": "x=b; echo go >one; cat two; echo $x"}));
    client.execute("c", "c", "bash", &json!({"command": "echo go >two; echo [$x]"}));
    let text = |finished: crate::hand::Finished| finished.text().to_owned();
    assert_eq!(text(client.result("a")), "go\na");
    assert_eq!(text(client.result("b")), "go\nb");
    assert_eq!(text(client.result("c")), "[]");
    assert_eq!(client.bash("echo $x"), "main");
}

#[test]
fn calls_of_one_thread_run_in_order() {
    let hand = Hand::start();
    let mut client = hand.connect();
    for index in 0..50 {
        client.execute(
            &format!("c{index}"),
            "main",
            "bash",
            &json!({"command": format!("n=$n.{index}; echo $n")}),
        );
    }
    let all = (0..50).fold(String::new(), |all, index| all + "." + &index.to_string());
    assert_eq!(client.result("c49").text(), all);
    assert_eq!(client.result("c0").text(), ".0");
}

#[test]
fn many_shells_share_few_processes_without_losing_their_state() {
    let hand = Hand::start();
    let mut client = hand.connect();
    for index in 0..40 {
        let id = format!("set{index}");
        client.execute(&id, &format!("t{index}"), "bash", &json!({"command": format!("x={index}")}));
        client.result(&id);
    }
    while hand.children().len() > 32 {
        client.settle();
    }
    for index in 0..40 {
        let id = format!("get{index}");
        client.execute(&id, &format!("t{index}"), "bash", &json!({"command": "echo $x"}));
        assert_eq!(client.result(&id).text().lines().next(), Some(&*index.to_string()));
    }
}

#[test]
fn every_orphan_is_reaped() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("for i in {1..50}; do (for j in {1..100}; do (: &) ; done) & done; wait");
    client.settle();
    while hand.children().len() > 1 {
        std::thread::yield_now();
    }
    assert!(hand.children().iter().all(|(_, state)| *state != 'Z'));
}

#[test]
fn the_hand_takes_everything_with_it() {
    for quit in [true, false] {
        let mut hand = Hand::start();
        let mut client = hand.connect();
        let pid = client.bash("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
        if quit {
            hand.send_control(control::QUIT, None);
        } else {
            hand.control = None;
        }
        assert!(hand.child.wait().unwrap().success());
        assert!(!lives(&pid));
    }
}

#[test]
fn a_ping_is_answered_while_calls_run() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.execute("long", "main", "bash", &json!({"command": "sleep 1000"}));
    client.send(&Request::Ping);
    assert!(matches!(client.receive(), Response::Pong));
}
