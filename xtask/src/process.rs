//! Running other programs: visibly, or with their output read.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// How a program ended and everything it printed, standard output and error together.
pub(crate) struct Ended {
    /// Whether it exited with 0.
    pub(crate) is_success: bool,
    /// What it printed.
    pub(crate) output: String,
}

/// The top folder of the repository.
pub(crate) fn root() -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_root.parent().expect("xtask lives in a folder of the repository").to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

/// A command in the top folder, without standard input.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a program with its output shown; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Runs a program, shows its output as it comes and keeps it.
pub(crate) fn tee(command: &mut Command) -> Result<Ended> {
    let shown = show(command);
    println!("$ {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {shown}"))?;
    let stdout = child.stdout.take().context("standard output was asked for")?;
    let stderr = child.stderr.take().context("standard error was asked for")?;
    let errors = thread::spawn(move || copy_lines(stderr, &mut std::io::stderr()));
    let mut output = copy_lines(stdout, &mut std::io::stdout());
    output.push_str(&errors.join().unwrap_or_default());
    let status = child.wait().with_context(|| format!("wait for {shown}"))?;
    Ok(Ended { is_success: status.success(), output })
}

/// Runs a program quietly and returns its standard output; fails, with what it complained of, when it fails.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends a signal to one process. The shell's own `kill` does it: a bare machine has no such program.
pub(crate) fn signal(id: u32, name: &str) -> Result<()> {
    read(command("sh").args(["-c", &format!("kill -{name} {id}")])).map(drop)
}

/// Finds a program on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn copy_lines(from: impl std::io::Read, to: &mut dyn Write) -> String {
    let mut kept = String::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        // A closed terminal must not end the tests: what cannot be shown is still kept.
        drop(to.write_all(&line));
        kept.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    drop(to.flush());
    kept
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut shown =
        program.file_name().unwrap_or_else(|| command.get_program()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
