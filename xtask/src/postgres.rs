//! A temporary PostgreSQL server: a fresh cluster in a folder, a socket and a free port on loopback, gone afterwards.

use std::net::TcpListener;
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

const READY_MAX: Duration = Duration::from_secs(30);

/// A running server. It is ended when this is dropped.
pub(crate) struct Postgres {
    child: Child,
    folder: PathBuf,
    /// What to give to `--database`.
    pub(crate) url: String,
}

/// The folder of PostgreSQL's server programs: that of `initdb` on PATH, else Debian's, newest version first.
pub(crate) fn programs() -> Option<PathBuf> {
    let on_path = process::find("initdb").and_then(|path| path.canonicalize().ok());
    if let Some(folder) = on_path.as_deref().and_then(Path::parent) {
        return Some(folder.to_path_buf());
    }
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path()).collect();
    versions.sort();
    versions.into_iter().rev().map(|path| path.join("bin")).find(|path| path.join("initdb").is_file())
}

impl Postgres {
    /// Makes a cluster and starts it. PostgreSQL refuses to run as root, so root becomes the user `postgres` for it.
    pub(crate) fn start() -> Result<Self> {
        let programs = programs().context("no PostgreSQL server programs: install the package postgresql")?;
        let folder = std::env::temp_dir().join(format!("journeyman-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        if is_root()? {
            process::read(process::command("chown").arg("postgres").arg(&folder))?;
        }
        let data = folder.join("data");
        process::read(
            unprivileged(&programs.join("initdb"))?
                .args(["--username=journeyman", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"])
                .arg(&data),
        )?;
        let port = TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port();
        let child = unprivileged(&programs.join("postgres"))?
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "max_connections=200", "-k"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start PostgreSQL")?;
        let url = format!("postgres://journeyman@127.0.0.1:{port}/postgres");
        let server = Self { child, folder, url };
        wait_until_ready(&programs, port)?;
        Ok(server)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown. What fails here has nobody left to tell.
        drop(process::signal(self.child.id(), "INT"));
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn wait_until_ready(programs: &Path, port: u16) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    let mut probe = process::command(programs.join("pg_isready"));
    probe.args(["-h", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null());
    while !probe.status().context("ask PostgreSQL whether it is ready")?.success() {
        if Instant::now() >= deadline {
            bail!("PostgreSQL was not ready after {READY_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(process::read(process::command("id").arg("-u"))?.trim() == "0")
}

fn unprivileged(program: &Path) -> Result<Command> {
    if !is_root()? {
        return Ok(process::command(program));
    }
    let mut command = process::command("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    // The repository may lie where this user cannot go.
    command.current_dir("/");
    Ok(command)
}
