//! The built binary in a folder of its own, with nothing of this process's environment.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use tempfile::TempDir;

/// The words that start a server on a free port.
pub(crate) const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

/// A folder to run the binary in.
pub(crate) struct Program {
    pub(crate) folder: TempDir,
}

/// A running server, ended with its spawner when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    folder: std::path::PathBuf,
}

impl Program {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_journeyman"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts `serve` on a free port and waits for its line.
    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Server {
        self.start(self.command(SERVE), variables)
    }

    /// Starts what is the command of `serve`, and waits for its line.
    pub(crate) fn start(&self, mut command: Command, variables: &[(&str, &str)]) -> Server {
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").map(str::to_owned);
        let Some(address) = address else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("the server did not start: {line:?}\n{log}");
        };
        Server { child, address, folder: self.folder.path().to_path_buf() }
    }

    /// Ids of processes that name this folder in their command line.
    pub(crate) fn spawners(&self) -> Vec<u32> {
        spawners(self.folder.path())
    }
}

impl Server {
    /// A GET; the status and the body.
    pub(crate) fn get(&self, path: &str, key: Option<&str>) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let key = key.map_or_else(String::new, |key| format!("x-api-key: {key}\r\n"));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\n{key}anthropic-beta: managed-agents-2026-04-01\r\nconnection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// SIGTERM; whether it exited with 0, the rest of its standard output, and its standard error.
    pub(crate) fn stop(mut self) -> (bool, String, String) {
        signal(self.child.id(), "TERM");
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().success(), out, err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for id in spawners(&self.folder) {
            signal(id, "TERM");
        }
    }
}

fn spawners(folder: &std::path::Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    let named = |id: u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let data = folder.as_os_str().as_encoded_bytes();
        words.contains(&b"spawner".as_slice()) && words.iter().any(|word| word.starts_with(data))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|id| named(*id)).collect()
}

fn signal(id: u32, name: &str) {
    Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
}
