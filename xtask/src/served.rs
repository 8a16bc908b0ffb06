//! A built program that listens: started, waited for, killed. Used for the server and for the mock model.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::process;

/// A program that should end by itself gets this long before it is killed.
const EXIT_MAX: Duration = Duration::from_secs(15);

/// Which build of the product is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// `cargo build`
    Debug,
    /// `cargo build --release`
    Release,
}

impl Profile {
    /// Builds a binary of a package and returns its path. `XTASK_BINARIES` names a folder of binaries that were built
    /// before, to measure or to torment one certain build.
    pub(crate) fn build(self, package: &str, binary: &str) -> Result<PathBuf> {
        if let Some(folder) = std::env::var_os("XTASK_BINARIES") {
            return Ok(PathBuf::from(folder).join(binary));
        }
        let mut cargo = process::cargo();
        cargo.args(["build", "--quiet", "--locked", "--package", package, "--bin", binary]);
        let folder = match self {
            Self::Debug => "debug",
            Self::Release => {
                cargo.arg("--release");
                "release"
            }
        };
        process::run(&mut cargo)?;
        Ok(process::target().join(folder).join(binary))
    }
}

/// How to start a server.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The program.
    pub(crate) binary: PathBuf,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// `postgres://…`; SQLite in the data folder without it.
    pub(crate) database: Option<String>,
    /// Where the mock model listens.
    pub(crate) upstream: SocketAddr,
    /// The server key.
    pub(crate) key: String,
    /// A file of settings; the built-in ones without it.
    pub(crate) config: Option<PathBuf>,
    /// Where the server's log goes.
    pub(crate) log: PathBuf,
}

impl Setup {
    /// Starts the server and waits until it says that it is ready. `crash_at` names a point at which it kills itself.
    pub(crate) fn start(&self, listen: SocketAddr, crash_at: Option<&str>) -> Result<Served> {
        let mut command = self.command();
        command.arg("serve").arg("--listen").arg(listen.to_string()).arg("--data").arg(&self.data);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(database) = &self.database {
            command.arg("--database").arg(database);
        }
        if let Some(point) = crash_at {
            command.env("JOURNEYMAN_CRASH_AT", point);
        }
        Served::start(&mut command, &self.log)
    }

    fn command(&self) -> Command {
        let mut command = process::command(&self.binary);
        for (name, _) in std::env::vars_os() {
            let is_ours = name.to_str().is_some_and(|name| name.starts_with("JOURNEYMAN_"));
            if is_ours || name == "ANTHROPIC_API_KEY" {
                command.env_remove(name);
            }
        }
        command
            .env("JOURNEYMAN_API_KEY", &self.key)
            .env("JOURNEYMAN_ANTHROPIC_API_KEY", "mock")
            .env("JOURNEYMAN_ANTHROPIC_BASE_URL", format!("http://{}", self.upstream))
            .env("JOURNEYMAN_LOG", "warn");
        command
    }
}

/// A running program. It is killed when this is dropped.
pub(crate) struct Served {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From its start to its line `listening on`.
    pub(crate) ready_after: Duration,
}

impl Served {
    /// Starts a program that prints `listening on http://ADDRESS` when it is ready; its log is appended to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log_file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let started = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("read the first line of a server")?;
        let ready_after = started.elapsed();
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let status = child.wait().context("wait for a server that did not start")?;
            bail!("the server did not start ({status}); its log is {}", log.display());
        };
        Ok(Self { child, address, ready_after })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and the end of the process.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill a server")?;
        self.child.wait().context("wait for a killed server")?;
        Ok(())
    }

    /// Waits up to `patience` for the program to end by itself.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while self.child.try_wait().context("look after a server")?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    /// SIGTERM, and the end of the process; an error when it does not end in time.
    pub(crate) fn stop(mut self) -> Result<()> {
        process::signal(self.id(), "TERM")?;
        if !self.ends_within(EXIT_MAX)? {
            bail!("the server did not end within {EXIT_MAX:?} of SIGTERM");
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already, and there is nobody left to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ends the spawner that a server left behind on its data folder, by the process id that names the folder in its
/// command line.
pub(crate) fn end_spawner(data: &Path) -> Result<()> {
    let wanted = data.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let folder = entry.context("list processes")?.path();
        let Ok(line) = std::fs::read(folder.join("cmdline")) else { continue };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if words.contains(&b"spawner".as_slice()) && words.contains(&wanted) {
            let id = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
            process::signal(id.context("a process is a folder named by its id")?, "TERM")?;
        }
    }
    Ok(())
}
