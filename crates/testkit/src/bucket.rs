//! A bucket to throw away: another project's server of S3's protocol on loopback, which keeps blobs in memory and checks
//! signatures. It is a Python program that ends when its standard input does, so with the process that started it.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::bail;

const SERVER: &str = include_str!("bucket.py");
/// Where `cargo xtask` puts the Python of the tests, below the folder of what is built.
const PYTHON: &str = "venv/bin/python";

/// A running server with one bucket, `blobs`.
#[derive(Debug)]
pub struct Bucket {
    server: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Address of the server.
    pub endpoint: String,
    /// Who may use the bucket.
    pub access_key_id: String,
    /// The proof of it.
    pub secret_access_key: String,
}

impl Bucket {
    /// Starts a server.
    ///
    /// # Errors
    /// When there is no Python with that server, or it does not start.
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(python()?);
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().context("start the server of the bucket")?;
        let commands = server.stdin.take();
        let mut answers = BufReader::new(server.stdout.take().context("read what the server prints")?);
        let mut line = String::new();
        answers.read_line(&mut line).context("read what the server prints")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [port, id, secret] = words[..] else {
            server.wait().context("wait for the server of the bucket")?;
            bail!("the server of the bucket did not start; `cargo xtask sdk` installs what it needs");
        };
        Ok(Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            server,
            commands,
            answers,
        })
    }

    /// Keys of the blobs in the bucket.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn keys(&mut self) -> anyhow::Result<Vec<String>> {
        self.ask("keys")
    }

    /// Uploads that have neither ended nor been given up.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn uploads(&mut self) -> anyhow::Result<Vec<String>> {
        self.ask("uploads")
    }

    /// Ends the server at once, whatever it is at.
    pub fn kill(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }

    fn ask(&mut self, what: &str) -> anyhow::Result<Vec<String>> {
        let commands = self.commands.as_mut().context("the server was told to end")?;
        writeln!(commands, "{what}").with_context(|| format!("ask for {what}"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line).with_context(|| format!("read {what}"))?;
        serde_json::from_str(&line).with_context(|| format!("read {what}"))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.commands.take());
        self.kill();
    }
}

fn python() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let mut candidates = own.ancestors().map(|folder| folder.join(PYTHON));
    candidates
        .find(|python| python.is_file())
        .with_context(|| format!("find {PYTHON} above {}; `cargo xtask sdk` puts it there", own.display()))
}
