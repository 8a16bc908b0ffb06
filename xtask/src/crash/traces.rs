//! What is left of sandboxes on one node: rows, blobs and folders, looked at from outside.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::postgres;
use crate::process;
use crate::served::Setup;

/// A server ends what idles and sweeps within seconds of its start.
const PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(50);
/// Older than what the sweep leaves alone because somebody may be about to name it.
const OLD: SystemTime = SystemTime::UNIX_EPOCH;
/// Folders of the data folder in which nothing may be left.
const FOLDERS: [&str; 4] = ["sandboxes", "layers", "incoming", "trash"];
/// Reads a database that a server may be using.
const READ: &str = "import sqlite3, sys\n\
    for row in sqlite3.connect(sys.argv[1], timeout=30).execute(sys.argv[2]): print(row[0])";

/// The traces on one node.
pub(super) struct Traces<'a>(pub(super) &'a Setup);

impl Traces<'_> {
    /// Waits until the newest files of the only session are in the blob store.
    pub(super) fn until_checkpointed(&self) -> Result<()> {
        let are_noted = || Ok(self.query("SELECT is_changed FROM sandbox")? == ["0"]);
        until("no checkpoint was noted", are_noted, || self.left())
    }

    /// Waits until nothing is left but these blobs, by their keys.
    pub(super) fn until_only(&self, blobs: &[String]) -> Result<()> {
        let rows: Vec<String> = blobs.iter().map(|blob| format!("row of {blob}")).collect();
        let blobs: Vec<String> = blobs.iter().map(|blob| format!("blob {blob}")).collect();
        let expected: Vec<String> = rows.into_iter().chain(blobs).collect();
        until("something is left", || Ok(self.left()? == expected), || self.left())
    }

    /// Waits until there is one layer, no job and nothing of a sandbox.
    pub(super) fn until_one_layer(&self) -> Result<()> {
        let are_open = || self.query("SELECT 'job ' || key || ' ' || coalesce(error, '') FROM job");
        let left = || Ok([self.left()?, are_open()?].concat());
        let is_one = |left: &[String]| matches!(left, [layer] if layer.contains("/layers/"));
        until("more than one layer is left", || Ok(is_one(&left()?)), left)
    }

    /// The checkpoints that rows name.
    pub(super) fn checkpoints(&self) -> Result<Vec<String>> {
        self.query("SELECT checkpoint FROM sandbox WHERE checkpoint IS NOT NULL")
    }

    /// Makes every blob so old that the sweep may take it for an orphan.
    pub(super) fn age_blobs(&self) -> Result<()> {
        for path in files(&self.0.data.join("blobs"))? {
            let file = std::fs::File::options().write(true).open(&path);
            file.and_then(|file| file.set_modified(OLD))
                .with_context(|| format!("make {} older", path.display()))?;
        }
        Ok(())
    }

    /// Everything there is, by name.
    fn left(&self) -> Result<Vec<String>> {
        let rows = self.query("SELECT coalesce(checkpoint, 'nothing') FROM sandbox")?;
        let mut left: Vec<String> = rows.into_iter().map(|row| format!("row of {row}")).collect();
        let blobs = self.0.data.join("blobs");
        for path in files(&blobs)? {
            let key = path.strip_prefix(&blobs).unwrap_or(&path);
            left.push(format!("blob {}", key.display()));
        }
        for folder in FOLDERS {
            for path in entries(&self.0.data.join(folder))? {
                left.push(format!("folder {}", path.display()));
            }
        }
        Ok(left)
    }

    /// The first column of what a query answers.
    fn query(&self, query: &str) -> Result<Vec<String>> {
        let mut command = match &self.0.database {
            None => {
                let mut python = process::command("/usr/bin/python3");
                python.args(["-c", READ]).arg(self.0.data.join("journeyman.db"));
                python
            }
            Some(url) => psql(url)?,
        };
        Ok(process::read(command.arg(query))?.lines().map(str::to_owned).collect())
    }
}

/// PostgreSQL's client on a database; a statement follows.
pub(super) fn psql(url: &str) -> Result<Command> {
    let programs = postgres::programs().context("no PostgreSQL programs: install the package postgresql")?;
    let mut psql = process::command(programs.join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", url, "--command"]);
    Ok(psql)
}

fn until(
    complaint: &str,
    is_so: impl Fn() -> Result<bool>,
    left: impl Fn() -> Result<Vec<String>>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() >= deadline {
            bail!("{complaint} after {PATIENCE:?}: {:#?}", left()?);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Every file below a folder, which another process may be changing.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.exists() {
            found.push(path);
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.with_context(|| format!("list {}", folder.display()))?,
    };
    let mut paths: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
