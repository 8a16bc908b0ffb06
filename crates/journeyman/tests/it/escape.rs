//! `doctor --escape` in each mode that this host has: nothing escapes.

#![expect(clippy::print_stdout, reason = "a test says which mode it could not cover")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use tempfile::TempDir;

use crate::program::Program;

/// A user without subordinate ids, and one that a host may have given some for this test.
const PLAIN: u32 = 65_533;
const GRANTED: u32 = 65_532;

#[test]
fn nothing_escapes_from_a_sandbox_of_this_user() {
    let program = Program::new();
    let output = program.run(&["doctor", "--escape"]);
    let told = expect_tight(&output);
    assert!(!told.contains('\u{1b}'), "no colour goes to a file");
    for word in ["in a new sandbox", "after a hostile former life", "met"] {
        assert!(told.contains(word), "{word} is missing in\n{told}");
    }
    assert_eq!(program.spawners(), Vec::<u32>::new());
    expect_empty(&program.folder.path().join("journeyman-data"));
}

#[test]
fn nothing_escapes_from_a_sandbox_of_a_user_with_a_single_id() {
    let Some(told) = run_as(PLAIN) else { return };
    assert!(told.contains("with a single id"), "{told}");
}

#[test]
fn nothing_escapes_from_a_sandbox_of_a_user_with_subordinate_ids() {
    let granted = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    if !granted.lines().any(|line| line.starts_with(&format!("{GRANTED}:"))) {
        println!("/etc/subuid grants nothing to {GRANTED}: the mode with subordinate ids is not covered");
        return;
    }
    let Some(told) = run_as(GRANTED) else { return };
    assert!(told.contains("with subordinate ids"), "{told}");
}

/// Runs the suite as another user, with lines of JSON; only root can do that.
fn run_as(user: u32) -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("only root can become user {user}: that mode is not covered");
        return None;
    }
    let folder = TempDir::new().unwrap();
    // The folder of the build may be out of the user's reach.
    let program = folder.path().join("journeyman");
    std::fs::copy(env!("CARGO_BIN_EXE_journeyman"), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for path in [folder.path(), &data] {
        chown(path, Some(user), Some(user)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    command.arg(&program).args(["doctor", "--escape", "--json", "--data"]).arg(&data);
    command.current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let told = expect_tight(&command.output().unwrap());
    for line in told.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line.is_object());
    }
    expect_empty(&data);
    Some(told)
}

fn expect_tight(output: &Output) -> String {
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let escaped: Vec<&str> =
        told.lines().filter(|line| line.contains(" escaped ") || line.contains("\"escaped\"")).collect();
    assert!(output.status.success(), "{}\n{log}", escaped.join("\n"));
    told
}

fn expect_empty(data: &Path) {
    let left: Vec<_> = std::fs::read_dir(data).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?} is left in {}", data.display());
}
