//! A PostgreSQL cluster to throw away: made from the server programs of this machine, reached by a Unix socket in a
//! temporary folder, gone with the process that started it.
//!
//! A small shell watches the server. It waits for the end of its standard input, which this process holds open: when
//! the process ends, however it ends, the shell stops the server and removes the folder.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use anyhow::anyhow;
use anyhow::bail;

/// What the server prints when it can be used.
const READY: &str = "ready to accept connections";
const SUPERUSER: &str = "postgres";
/// Runs as the user who may: `$1` folder, `$2` folder of programs, the rest the server's settings.
const WATCH: &str = r#"
folder=$1; programs=$2; shift 2
"$programs/postgres" -D "$folder/data" "$@" </dev/null &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$folder"
"#;

/// A running cluster. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub struct Cluster {
    watcher: Child,
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicUsize,
}

/// Address of a new, empty database in a cluster that all tests of this process share. Nothing is synced to disk.
///
/// # Errors
/// When the server programs are missing or the cluster does not start; the reason says which.
pub fn database() -> anyhow::Result<String> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Cluster::start(false).map_err(|error| format!("{error:#}")));
    shared.as_ref().map_err(|error| anyhow!("{error}"))?.create_database()
}

impl Cluster {
    /// Makes and starts a cluster. With `is_synced`, commits reach the disk as in production.
    ///
    /// # Errors
    /// When the server programs are missing or fail.
    pub fn start(is_synced: bool) -> anyhow::Result<Self> {
        let programs = find_programs().context("find initdb and postgres in PATH or /usr/lib/postgresql")?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().context("make a folder")?.keep();
        let user = User::unprivileged()?;
        user.own(&folder)?;
        let mut initdb = user.command(&programs.join("initdb"));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", SUPERUSER]);
        run(initdb.arg("-D").arg(folder.join("data"))).context("run initdb")?;

        let mut watcher = user.command(Path::new("/bin/sh"));
        watcher.args(["-c", WATCH, "watch"]).arg(&folder).arg(&programs);
        watcher.arg("-k").arg(&folder).args(["-c", "listen_addresses=", "-c", "max_connections=400"]);
        if !is_synced {
            watcher.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let watcher = watcher.spawn().context("start postgres")?;
        let mut cluster = Self { watcher, folder, programs, databases: AtomicUsize::new(0) };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Address of a new, empty database.
    ///
    /// # Errors
    /// When `createdb` fails.
    pub fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = Command::new(self.programs.join("createdb"));
        createdb.arg("-h").arg(&self.folder).args(["-U", SUPERUSER, &name]);
        run(&mut createdb).context("run createdb")?;
        let host = self.folder.to_string_lossy().replace('/', "%2F");
        Ok(format!("postgres://{SUPERUSER}@{host}/{name}"))
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let output = self.watcher.stderr.take().context("read what postgres prints")?;
        let mut lines = BufReader::new(output).lines();
        let mut printed = String::new();
        for line in lines.by_ref() {
            let line = line.context("read what postgres prints")?;
            if line.contains(READY) {
                // The server must never wait for somebody to read its log.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(());
            }
            printed.push_str(&line);
            printed.push('\n');
        }
        bail!("postgres ended before it was ready:\n{printed}")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        self.watcher.wait().ok();
    }
}

/// Who runs the server, which refuses to be run by root.
struct User {
    /// Ids of another user to become.
    other: Option<(u32, u32)>,
}

impl User {
    fn unprivileged() -> anyhow::Result<Self> {
        if read_id(&["-u"])? != 0 {
            return Ok(Self { other: None });
        }
        let name = ["postgres", "nobody"].into_iter().find(|name| read_id(&["-u", name]).is_ok());
        let name = name.context("find a user who is not root: neither postgres nor nobody is there")?;
        Ok(Self { other: Some((read_id(&["-u", name])?, read_id(&["-g", name])?)) })
    }

    fn own(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some((user, group)) = self.other {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).context("give the folder away")?;
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.other {
            None => Command::new(program),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
                command.arg("--").arg(program);
                command
            }
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

fn read_id(args: &[&str]) -> anyhow::Result<u32> {
    Ok(run(Command::new("id").args(args))?.trim().parse()?)
}

fn find_programs() -> Option<PathBuf> {
    let is_complete = |folder: &PathBuf| {
        ["initdb", "postgres", "createdb"].into_iter().all(|program| folder.join(program).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    installed.sort();
    std::env::split_paths(&path).chain(installed.into_iter().rev()).find(is_complete)
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
