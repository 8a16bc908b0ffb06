//! `quickstart` and `run`: a whole session with real tools in a real sandbox.

use std::io::Write;

use crate::program::Program;

const LAST_NUMBERS: &str = "987 1597 2584 4181";

#[test]
fn the_quickstart_does_a_real_task_and_leaves_nothing_running() {
    let program = Program::new();
    let output = program.run(&["quickstart", "--listen", "127.0.0.1:0"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}\n{log}");
    for word in
        ["scripted", "python3 fib.py", "idle: end_turn", LAST_NUMBERS, "Usage", "curl", "from anthropic"]
    {
        assert!(told.contains(word), "{word} is missing in\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "no colour goes to a file");
    assert_eq!(program.spawners(), Vec::<u32>::new());
}

#[test]
fn a_second_quickstart_on_the_same_data_works_too() {
    let program = Program::new();
    for _ in 0..2 {
        let output = program.run(&["quickstart", "--listen", "127.0.0.1:0"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn run_prints_the_last_message_only() {
    let program = Program::new();
    let script = "[[rule]]\nwhen = { user = \"greet\" }\n\
                  [[rule.reply]]\ncall = [{ tool = \"bash\", input = { command = \"echo from the sandbox\" } }]\n\
                  [[rule.reply]]\ntext = \"It said: {{result}}\"\n";
    let mut file = std::fs::File::create(program.folder.path().join("script.toml")).unwrap();
    file.write_all(script.as_bytes()).unwrap();
    let mut command = program.command(&["run", "Please greet"]);
    let output = command.env("JOURNEYMAN_SCRIPT", "script.toml").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "It said: from the sandbox", "{log}");
    assert!(output.status.success());
}

#[test]
fn run_without_a_model_says_what_to_set() {
    let program = Program::new();
    let output = program.run(&["run", "anything"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("JOURNEYMAN_ANTHROPIC_API_KEY"));
}
