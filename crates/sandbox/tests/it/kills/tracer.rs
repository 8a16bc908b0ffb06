//! A tracer that writes down the system calls of a process, or kills it on its way into one of them.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

const PROGRAM: &str = "/usr/bin/strace";

/// A system call: its name, and how many of that name there were with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    name: String,
    number: usize,
}

pub(super) struct Tracer {
    child: Child,
    log: PathBuf,
}

impl Tracer {
    pub(super) fn can_be_had() -> bool {
        Path::new(PROGRAM).exists()
    }

    pub(super) fn watching(pid: i32, log: &Path) -> Self {
        Self::start(pid, log, &[])
    }

    /// Kills the process before it makes this call.
    pub(super) fn killing(pid: i32, log: &Path, Moment { name, number }: &Moment) -> Self {
        Self::start(pid, log, &["-e".to_owned(), format!("inject={name}:signal=KILL:when={number}")])
    }

    /// Returns once it is there.
    fn start(pid: i32, log: &Path, further: &[String]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("-o")
            .arg(log)
            .args(further)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Self { child, log: log.to_owned() }
    }

    /// Lets the process go, if it lives; answers the calls that it made.
    pub(super) fn end(mut self) -> Vec<Moment> {
        // It lets go of what it traces, and writes down what it has not yet. It may have gone by itself.
        let word = format!("kill -TERM {} 2>/dev/null", self.child.id());
        Command::new("bash").args(["-c", &word]).status().unwrap();
        self.child.wait().unwrap();
        let log = std::fs::read_to_string(&self.log).unwrap();
        std::fs::remove_file(&self.log).unwrap();
        let mut moments: Vec<Moment> = Vec::new();
        for name in log.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned()) {
            let number = 1 + moments.iter().filter(|moment| moment.name == name).count();
            moments.push(Moment { name, number });
        }
        moments
    }
}
