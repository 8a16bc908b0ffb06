//! `journeyman doctor --escape` in each mode that this host has: nothing escapes. The program that is attacked lies beside
//! this one, where cargo has built it for its own tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helpers included")]
#![expect(clippy::print_stdout, reason = "a test says which mode it could not cover")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use tempfile::TempDir;

/// A user without subordinate ids, and one whom [`GRANT`] gives some.
const PLAIN: u32 = 65_533;
const GRANTED: u32 = 65_532;
/// Runs a program as a user with subordinate ids.
const GRANT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/granted.sh");
/// The lives in which the attacker is let loose.
const LIVES: [&str; 6] = [
    "in a new sandbox that may reach every public host",
    "in a new sandbox that may reach one host",
    "in a new sandbox that may reach no host",
    "in a new sandbox without a network",
    "after a hostile former life",
    "after a restore of what an attacker prepared",
];

#[test]
fn nothing_escapes_from_a_sandbox_of_this_user() {
    let folder = installed();
    let mut command = Command::new(folder.path().join("journeyman"));
    command.args(["doctor", "--escape"]);
    let output = confined(&mut command, folder.path()).output().unwrap();
    let told = expect_tight(&output);
    assert!(!told.contains('\u{1b}'), "no colour goes to a file");
    for word in LIVES.into_iter().chain(["met"]) {
        assert!(told.contains(word), "{word} is missing in\n{told}");
    }
    expect_no_process(folder.path());
    expect_empty(&folder.path().join("journeyman-data"));
}

#[test]
fn nothing_escapes_from_a_sandbox_of_a_user_with_a_single_id() {
    let become_him = ["setpriv", &format!("--reuid={PLAIN}"), &format!("--regid={PLAIN}"), "--clear-groups"];
    let Some(told) = run_as(PLAIN, &become_him) else { return };
    assert!(told.contains("with a single id"), "{told}");
}

#[test]
fn nothing_escapes_from_a_sandbox_of_a_user_with_subordinate_ids() {
    let Some(told) = run_as(GRANTED, &["sh", GRANT, &GRANTED.to_string()]) else { return };
    assert!(told.contains("with subordinate ids"), "{told}");
}

/// Runs the suite as another user, with lines of JSON; only root can do that. `become_him` stands before its command.
fn run_as(user: u32, become_him: &[&str]) -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("only root can become user {user}: that mode is not covered");
        return None;
    }
    let folder = installed();
    let program = folder.path().join("journeyman");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for path in [folder.path(), &data] {
        chown(path, Some(user), Some(user)).unwrap();
    }
    let mut command = Command::new(become_him[0]);
    command.args(&become_him[1..]).arg(&program).args(["doctor", "--escape", "--json", "--data"]).arg(&data);
    let told = expect_tight(&confined(&mut command, folder.path()).output().unwrap());
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for life in LIVES {
        assert!(lines.iter().any(|line| line["pass"] == life), "{life} is missing");
    }
    expect_empty(&data);
    Some(told)
}

/// Both programs in a folder of their own: the folder of the build may be out of a user's reach.
fn installed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let suite = Path::new(env!("CARGO_BIN_EXE_journeyman-escape"));
    for name in ["journeyman", "journeyman-escape"] {
        let (built, copy) = (suite.with_file_name(name), folder.path().join(name));
        std::fs::copy(&built, &copy).unwrap_or_else(|error| {
            panic!("copy {}: {error}; `cargo build --package journeyman` makes it", built.display())
        });
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// A command in a folder, with an environment of its own.
fn confined<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default())
}

/// No process names this folder in its command line.
fn expect_no_process(folder: &Path) {
    let folder = folder.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_of_it = line.windows(folder.len()).any(|window| window == folder);
        assert!(!is_of_it, "left running: {}", String::from_utf8_lossy(&line));
    }
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
