//! The shell that stays.

use std::fs;

use serde_json::json;

use crate::hand::Hand;

#[test]
fn the_shell_remembers_folder_variables_functions_aliases_and_status() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkdir a && cd a && x=1 && export Y=2 && f() { echo \"f$1\"; } && alias g='echo g' && declare -A m=([k]=v)");
    assert_eq!(client.bash("basename $PWD; echo $x $Y; f 3; g; echo ${m[k]}"), "a\n1 2\nf3\ng\nv");
    client.failing_bash("(exit 7)");
    assert_eq!(client.bash("echo $?"), "7");
}

#[test]
fn output_is_merged_and_cleaned_and_the_status_makes_the_error() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert_eq!(client.bash("echo out; echo err >&2; printf '\\e[31mred\\e[0m'"), "out\nerr\nred");
    assert_eq!(client.bash("true"), "(no output)");
    assert_eq!(client.failing_bash("echo bad; false"), "bad");
    assert_eq!(client.failing_bash("(exit 3)"), "exit status 3");
    assert_eq!(client.bash("printf 'a\\xffb\\0c'"), "a\u{fffd}b\u{fffd}c");
    assert!(client.bash("head -c 100000 /dev/urandom; echo").len() > 50_000);
    assert_eq!(client.bash("echo after"), "after");
}

#[test]
fn the_environment_is_small_and_clean() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let names = client.bash("env | cut -d= -f1 | sort | tr '\\n' ' '");
    assert_eq!(
        names.trim_end(),
        "DEBIAN_FRONTEND GIT_PAGER HOME JOURNEYMAN_THREAD LANG LOGNAME PAGER PATH PWD PYTHONUNBUFFERED SHELL SHLVL TERM USER _"
    );
    assert_eq!(client.bash("umask; ls /proc/self/fd | wc -l"), "0022\n4");
    assert_eq!(client.bash("yes | head -1; cat"), "y");
    assert!(client.failing_bash("nope").ends_with("bash: line 1: nope: command not found"));
}

#[test]
fn readers_of_the_terminal_get_none() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert_eq!(
        client.bash("read x; echo \"[$x]\"; cat; (: </dev/tty) 2>&1 | grep -c 'No such device'"),
        "[]\n1"
    );
}

#[test]
fn unbalanced_quotes_fail_at_once() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert!(client.failing_bash("echo \"never closed").contains("unexpected EOF"));
    assert!(client.failing_bash("if true; then").contains("syntax error"));
    assert_eq!(client.bash("echo fine"), "fine");
    assert_eq!(client.bash("cat <<E\nhere\nE"), "here");
}

#[test]
fn a_shell_that_exits_comes_back_where_it_was() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkdir 'it'\"'\"'s' && cd 'it'\"'\"'s' && export A='x y\nz' && b=2 && f() { echo f; } && arr=(1 '2 3')");
    let text = client.failing_bash("echo last; exit 3");
    assert!(text.starts_with("last\n[the shell ended with status 3; "), "{text}");
    assert_eq!(
        client.bash("basename \"$PWD\"; echo \"$A\"; echo $b; f; echo ${arr[1]}"),
        "it's\nx y\nz\n2\nf\n2 3"
    );
    let text = client.failing_bash("set -e; cd /; false; echo not reached");
    assert!(text.starts_with("[the shell ended with status 1; "), "{text}");
    assert_eq!(client.bash("pwd; false; echo on"), "/\non");
    let text = client.call("bash", &json!({"command": "echo ok; exit 0"}));
    assert!(!text.is_error && text.text().starts_with("ok\n[the shell ended with status 0"), "{text:?}");
}

#[test]
fn a_shell_that_is_killed_keeps_folder_and_exports() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("export A=1; b=2; cd /");
    let text = client.failing_bash("kill -9 $$");
    assert!(text.contains("was killed") && text.contains("exported variables"), "{text}");
    assert_eq!(client.bash("pwd; echo $A$b"), "/\n1");
    assert_eq!(client.failing_bash("exec sh -c 'echo replaced; exit 4'").lines().next(), Some("replaced"));
    assert_eq!(client.bash("pwd; echo $A"), "/\n1");
}

#[test]
fn a_shell_that_dies_between_calls_is_replaced() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("cd /; (sleep 0.1; kill -9 $$) >/dev/null 2>&1 &");
    while hand.children().iter().any(|(pid, _)| is_bash(*pid)) {
        std::thread::yield_now();
    }
    client.settle();
    let text = client.bash("pwd");
    assert!(text.starts_with("/\n[the shell was killed"), "{text}");
    assert_eq!(client.bash("pwd"), "/");
}

fn is_bash(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"bash\0"))
}

#[test]
fn loops_cannot_be_left_into_the_driver() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert_eq!(client.bash("echo a; continue; echo b"), "a");
    assert!(client.bash("echo a; break; echo b").starts_with("a\n[the shell ended with status 0"));
    assert_eq!(client.bash("for i in 1 2; do echo $i; break; done"), "1");
    assert_eq!(client.bash("echo c"), "c");
}

#[test]
fn printed_reports_and_closed_descriptors_break_nothing() {
    let hand = Hand::start();
    let mut client = hand.connect();
    assert_eq!(
        client.bash("printf '1\\0000\\000/\\000\\000'; printf '9 0 /\\0' 2>/dev/null >&4; echo x"),
        "1\u{fffd}0\u{fffd}/\u{fffd}\u{fffd}x"
    );
    assert_eq!(client.bash("exec 3<&- 4>&- 5<&-; echo still"), "still");
    assert_eq!(client.bash("echo here"), "here");
    // The driver's own descriptors, saved by bash past 9: whoever closes or writes to them loses the shell, no more.
    let text = client
        .call("bash", &json!({"command": "for n in {10..40}; do eval \"exec $n>&-\"; done; echo gone"}));
    assert!(text.text().starts_with("gone"), "{text:?}");
    assert_eq!(client.bash("echo back"), "back");
    for n in 10..16 {
        let command = format!("printf 'junk\\0\\0\\0\\0' >&{n}; echo x");
        client.call("bash", &json!({ "command": command, "timeout_ms": 5000 }));
    }
    client.call("bash", &json!({"command": "echo"}));
    assert_eq!(client.bash("echo here"), "here");
}

#[test]
fn options_and_overridden_builtins_do_not_stop_the_driver() {
    let hand = Hand::start();
    let mut client = hand.connect();
    for command in [
        "set -u",
        "set -o noclobber",
        "IFS=,",
        "set -f",
        "set -o pipefail",
        "printf() { :; }; read() { :; }; declare() { :; }; eval() { :; }",
        "shopt -s extdebug",
        "set -o posix",
        "trap 'echo debug >/dev/null' DEBUG",
        "set -x",
    ] {
        client.call("bash", &json!({ "command": command }));
        let finished = client.call("bash", &json!({"command": "echo fine"}));
        assert!(!finished.is_error && finished.text().ends_with("fine"), "{command}: {finished:?}");
    }
}

#[test]
fn background_jobs_do_not_hold_the_call_and_live_on() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkfifo go done");
    let text = client.bash("{ cat go; echo late; echo late2 >&2; echo x >done; } & echo now");
    let path = hand.scratch().join("bash-0-2.txt");
    assert_eq!(
        text,
        format!(
            "now\n[background processes hold the output; what they print from now on goes to {}]",
            path.display()
        )
    );
    assert_eq!(client.bash("echo go >go; cat done"), "x");
    while !fs::read_to_string(&path).is_ok_and(|text| text == "go\nlate\nlate2\n") {
        std::thread::yield_now();
    }
    assert_eq!(client.bash("sleep 100 >/dev/null 2>&1 & echo $! >pid"), "(no output)");
    assert_eq!(client.bash("kill -0 $(cat pid) && jobs | grep -c sleep"), "1");
}

#[test]
fn an_endless_writer_in_the_background_holds_nothing() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let text = client.bash("yes & echo $! >pid; sleep 0.2; echo end");
    assert!(text.contains("background processes hold the output"));
    assert_eq!(client.bash("kill $(cat pid); echo killed"), "killed");
}

#[test]
fn restart_gives_a_clean_shell() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client
        .bash("export A=1; cd /; sleep 1000 >/dev/null 2>&1 & echo $! >/proc/self/cwd/pid 2>/dev/null; cd /");
    assert_eq!(client.call("bash", &json!({"restart": true})).text(), "bash session restarted");
    assert_eq!(client.bash("basename $PWD; echo [$A]"), "workspace\n[]");
}

#[test]
fn long_output_becomes_a_preview_and_a_file() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let text = client.bash("seq 1 20000");
    let path = hand.scratch().join("bash-0-1.txt");
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n20000"), "{}", &text[..100]);
    assert!(text.contains(&format!("[output truncated; full output: {}]", path.display())));
    assert!(text.chars().count() <= 100_000);
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 20_000);
    let text = client.bash(
        "head -c 99999 /dev/zero | tr '\\0' é | head -c 199998 | iconv -f latin1 -t utf-8 | head -c 90000",
    );
    assert!(!text.contains("truncated"));
}

#[test]
fn a_hundred_megabytes_pass_through_bounded_memory() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let text = client.bash("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end");
    assert!(text.ends_with("\nend"));
    assert!(
        text.contains("100000005 bytes in full, the first 52428800 of them in "),
        "{}",
        &text[19_990..20_200]
    );
    assert_eq!(fs::metadata(hand.scratch().join("bash-0-1.txt")).unwrap().len(), 50 << 20);
    let status = fs::read_to_string(format!("/proc/{}/status", hand.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 64 << 10, "{peak}");
}

#[test]
fn a_large_command_and_large_exports_pass() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let large = "x".repeat(1 << 20);
    assert_eq!(client.bash(&format!("export L='{large}'; echo ${{#L}}")), "1048576");
    assert_eq!(client.bash("echo ${#L}"), "1048576");
}

#[test]
fn the_scratch_folder_may_vanish_at_any_time() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash(&format!("rm -rf {}", hand.scratch().display()));
    assert_eq!(client.bash("echo here"), "here");
    fs::write(hand.workspace().join("x"), "").unwrap();
    client.bash(&format!("rm -rf {0}; echo > {0}", hand.scratch().display()));
    assert_eq!(client.bash("echo in memory"), "in memory");
}

#[test]
fn bad_input_is_named() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let text = |finished: crate::hand::Finished| (finished.is_error, finished.text().to_owned());
    let required = (true, "bash: command is required".to_owned());
    assert_eq!(text(client.call("bash", &json!({}))), required);
    assert_eq!(text(client.call("bash", &json!({"command": ""}))), required);
    assert_eq!(
        text(client.call("bash", &json!({"command": 1}))),
        (true, "bash: command must be a string".to_owned())
    );
    assert_eq!(text(client.call("read", &json!({}))), (true, "read: file_path is required".to_owned()));
    assert_eq!(text(client.call("nope", &json!({}))), (true, "unknown tool: nope".to_owned()));
}
