//! A container engine to throw away: the daemon of this machine in a folder of its own, without any network.

use std::fs;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use tempfile::TempDir;

/// More arguments for the daemon, such as `--userns-remap=default`.
const ARGUMENTS: &str = "JOURNEYMAN_TEST_DOCKERD";
/// How long it may take to start.
const START_MAX: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of its log that are shown when a test fails.
const LINES: usize = 20;

/// A running engine. Dropping it ends the daemon with all its containers, and removes its files.
#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    daemon: Child,
}

impl Engine {
    /// Starts one. `None`, with the reason on standard output, where there can be none.
    ///
    /// # Errors
    /// When the daemon does not come up.
    #[expect(clippy::print_stdout, reason = "a test says what it could not cover")]
    pub fn start() -> anyhow::Result<Option<Self>> {
        let has = |program: &str| {
            ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
        };
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !is_root || !has("dockerd") || !has("docker") {
            println!("SKIPPED: this needs root, and `dockerd` and `docker` installed");
            return Ok(None);
        }
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log"))?;
        let more = std::env::var(ARGUMENTS).unwrap_or_default();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root"])
            .arg(at("engine"))
            .arg("--exec-root")
            .arg(at("run"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(["-H", &format!("unix://{}", at("socket").display())])
            .args(more.split_whitespace())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start dockerd")?;
        let mut engine = Self { folder, daemon };
        let begin = Instant::now();
        while engine.try_ask(&["version"]).is_err() {
            if engine.daemon.try_wait()?.is_some() || begin.elapsed() > START_MAX {
                bail!("dockerd did not start:\n{}", engine.last_lines());
            }
            thread::sleep(PAUSE);
        }
        Ok(Some(engine))
    }

    /// A folder that goes with the engine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Makes an image of an archive of a root file system.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn import(&self, archive: &Path, name: &str) -> anyhow::Result<()> {
        self.try_ask(&["import", &archive.display().to_string(), name]).map(drop)
    }

    /// What the engine's own client prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn ask(&self, arguments: &[&str]) -> String {
        self.try_ask(arguments).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let socket = format!("unix://{}", self.socket().display());
        let output = Command::new("docker").args(["-H", &socket]).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Engine {
    #[expect(clippy::print_stdout, reason = "a test that fails says what the engine said")]
    fn drop(&mut self) {
        // It ends its own processes when it is asked to. The number of one that has ended may be somebody else's.
        if matches!(self.daemon.try_wait(), Ok(None)) {
            let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.daemon.id())]).status();
            drop(asked.and_then(|_| self.daemon.wait()));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(mount).starts_with(self.folder.path()) {
                drop(Command::new("umount").args(["-l", mount]).status());
            }
        }
        if thread::panicking() {
            println!("the engine said last:\n{}", self.last_lines());
        }
    }
}
