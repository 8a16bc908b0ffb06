//! What shells know outlives the hand; and what they are given from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use serde_json::json;
use tempfile::TempDir;

use crate::hand::Hand;

fn saved(hand: &Hand) -> PathBuf {
    hand.scratch().join("saved/shells.json")
}

#[test]
fn folder_variables_and_functions_survive_a_rest() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash(
        "mkdir -p \"it's\" && cd \"it's\" && export A='x\ny' && b=2 && f() { echo f$1; } && alias g='echo g'",
    );
    client.execute("other", "other", "bash", &json!({"command": "b=other"}));
    client.result("other");
    client.rest();
    assert_eq!(hand.children(), [], "no shell is left");
    assert_eq!(fs::metadata(saved(&hand)).unwrap().permissions().mode() & 0o777, 0o600);
    let hand = hand.again();
    let mut client = hand.connect();
    let text = client.bash("basename \"$PWD\"; echo \"$A\"; echo $b; f 1; g; env | grep -c ^A=");
    assert!(
        text.starts_with("it's\nx\ny\n2\nf1\ng\n1\n[the shell was put away while it was idle; "),
        "{text}"
    );
    // A thread that was not used in this life is still known in the next.
    client.rest();
    let hand = hand.again();
    let mut client = hand.connect();
    client.execute("other", "other", "bash", &json!({"command": "echo $b"}));
    assert!(client.result("other").text().starts_with("other\n"));
    assert!(client.bash("echo $b").starts_with("2\n"));
    assert_eq!(client.bash("echo $b"), "2", "it is told once");
}

#[test]
fn a_shell_goes_on_after_a_rest_in_the_same_life() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.rest();
    client.bash("x=1");
    client.rest();
    client.rest();
    assert!(client.bash("echo $x").starts_with("1\n[the shell was put away"));
    assert_eq!(client.call("bash", &json!({"restart": true})).text(), "bash session restarted");
    client.rest();
    let hand = hand.again();
    assert_eq!(hand.connect().bash("echo [$x]"), "[]", "a restart forgets for good");
}

#[test]
fn a_shell_that_works_is_left_alone() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo go");
    client.execute("busy", "busy", "bash", &json!({"command": "x=1; cat go; echo $x"}));
    client.bash("y=2");
    client.rest();
    assert_eq!(hand.children().len(), 1);
    fs::write(hand.workspace().join("go"), "").unwrap();
    assert_eq!(client.result("busy").text(), "1");
    assert!(client.bash("echo $y").starts_with("2\n"));
}

#[test]
fn shells_that_retire_by_themselves_are_saved_too() {
    let hand = Hand::start();
    let mut client = hand.connect();
    for index in 0..34 {
        let id = format!("set{index}");
        client.execute(&id, &format!("t{index}"), "bash", &json!({"command": format!("x={index}")}));
        client.result(&id);
    }
    while !fs::read_to_string(saved(&hand))
        .is_ok_and(|text| text.contains("\"t0\"") && text.contains("\"t1\""))
    {
        client.settle();
    }
    let hand = hand.again();
    let mut client = hand.connect();
    client.execute("get", "t0", "bash", &json!({"command": "echo $x"}));
    assert!(client.result("get").text().starts_with("0\n"));
}

#[test]
fn a_file_of_a_stranger_gives_fresh_shells_at_worst() {
    let folder = || {
        let folder = TempDir::new().unwrap();
        for name in ["workspace", "home", "scratch/saved"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        folder
    };
    let texts = [
        "",
        "{",
        "[]",
        "{\"shells\":{\"main\":1}}",
        "{\"shells\":{\"main\":\"!\"}}",
        "{\"shells\":{},\"more\":1}",
        "{\"shells\":{\"main\":\"ZXhpdCA1Cg==\"}}",
        "{\"shells\":{\"main\":\"d2hpbGUKAAA=\"}}",
        &format!("{{\"shells\":{{}}}}{}", " ".repeat(9 << 20)),
    ];
    for text in texts {
        let folder = folder();
        fs::write(folder.path().join("scratch/saved/shells.json"), text).unwrap();
        let hand = Hand::start_over(Rc::new(folder), &[]);
        let mut client = hand.connect();
        assert!(client.bash("x=1; basename $PWD").starts_with("workspace"), "{text:.60}");
        client.rest();
        assert!(client.bash("echo $x").starts_with('1'), "{text:.60}");
    }
    for kind in ["pipe", "endless", "folder"] {
        let folder = folder();
        let path = folder.path().join("scratch/saved/shells.json");
        match kind {
            "pipe" => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            "endless" => symlink("/dev/zero", &path).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let hand = Hand::start_over(Rc::new(folder), &[]);
        let mut client = hand.connect();
        assert_eq!(client.bash("x=1; basename $PWD"), "workspace", "{kind}");
        client.rest();
        assert!(client.bash("echo $x").starts_with('1'), "{kind}");
    }
}

#[test]
fn variables_from_outside_stand_over_the_usual_ones() {
    let first = Hand::start();
    let folder = Rc::new(TempDir::new().unwrap());
    fs::create_dir(folder.path().join("workspace")).unwrap();
    let hand = Hand::start_over(folder, &["PAGER=less", "TOKEN=a=b c", "JOURNEYMAN_THREAD=x"]);
    let command = "echo $PAGER; echo $TOKEN; echo $JOURNEYMAN_THREAD; echo $TERM";
    assert_eq!(hand.connect().bash(command), "less\na=b c\nmain\ndumb");
    assert_eq!(first.connect().bash(command), "cat\n\nmain\ndumb");
}

#[test]
fn children_die_first_when_memory_runs_out() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert_eq!(client.bash("cat /proc/self/oom_score_adj"), "500");
    let own = fs::read_to_string(format!("/proc/{}/oom_score_adj", hand.child.id())).unwrap();
    assert_eq!(own, fs::read_to_string("/proc/self/oom_score_adj").unwrap());
    let read = client.call("read", &json!({"file_path": "/proc/self/oom_score_adj"}));
    assert_eq!(read.text(), "500\n");
    for command in ["sh -c 'kill -9 $$'", "echo part; (exit 137)"] {
        let text = client.failing_bash(command);
        assert!(text.ends_with("\n[killed, perhaps for want of memory]"), "{text}");
    }
    let text = client.call("bash", &json!({"command": "sh -c 'sleep 1000'", "timeout_ms": 200}));
    assert!(!text.text().contains("[killed"), "{text:?}");
}
