//! Measuring sandboxes in a process of its own: files that have a name by a walk, as somebody who may see them all, and
//! what has none any more by the descriptors of the processes inside.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::io::PipeReader;
use std::io::PipeWriter;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use super::Subject;
use crate::spawner::owners::Owners;
use crate::spawner::volume::sys;
use crate::spawner::volume::walk;
use crate::sys::process;
use crate::sys::process::Child;
use crate::sys::process::Forked;

/// Descriptors that are looked at in one sandbox.
const DESCRIPTORS_MAX: usize = 50_000;
const BLOCK_BYTES: u64 = 512;
const READ_BYTES: usize = 16 * 1024;
/// Longest report; a line is at most some sixty bytes.
const REPORT_BYTES_MAX: usize = 1 << 20;
const END: &str = "end";

/// What a sandbox takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// On disk, with a name or without.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// What its living processes have written since they began, wherever that is now.
    pub(super) written: u64,
    /// Living processes but the first.
    pub(super) processes: u64,
}

impl Measured {
    /// How much more this is than something measured before, by whichever count is larger.
    pub(super) fn growth(&self, before: &Self) -> u64 {
        self.bytes.saturating_sub(before.bytes).max(self.written.saturating_sub(before.written))
    }
}

/// A measurement that runs.
#[derive(Debug)]
pub(super) struct Measuring {
    child: Child,
    reader: PipeReader,
    heard: Vec<u8>,
}

/// Starts to measure these sandboxes.
pub(super) fn start(owners: &Owners, subjects: &[Subject]) -> io::Result<Measuring> {
    let (reader, writer) = io::pipe()?;
    match process::fork(0)? {
        Forked::Parent(child) => Ok(Measuring { child, reader, heard: Vec::new() }),
        Forked::Child => process::exit_copy(i32::from(work(owners, subjects, &writer).is_err())),
    }
}

impl Measuring {
    /// Ends it.
    pub(super) fn end(self) {
        drop(self.child.kill().and_then(|()| self.child.reap(true)));
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Reads once, which does not wait when the descriptor can be read. Answers what was measured, by the index of the
    /// subject, once all is.
    pub(super) fn hear(&mut self) -> io::Result<Option<HashMap<usize, Measured>>> {
        let mut buffer = [0; READ_BYTES];
        let length = self.reader.read(&mut buffer)?;
        self.heard.extend_from_slice(&buffer[..length]);
        if length > 0 && self.heard.len() <= REPORT_BYTES_MAX {
            return Ok(None);
        }
        self.child.kill()?;
        self.child.reap(true)?;
        understand(&String::from_utf8_lossy(&self.heard))
            .map(Some)
            .ok_or_else(|| io::Error::other("the process that measures ended early"))
    }
}

fn understand(report: &str) -> Option<HashMap<usize, Measured>> {
    let mut measured: HashMap<usize, Measured> = HashMap::new();
    let mut lines = report.lines();
    for line in lines.by_ref().take_while(|line| *line != END) {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let one = measured.entry(usize::try_from(next()?).ok()?).or_default();
        one.bytes = one.bytes.saturating_add(next()?);
        one.files = one.files.saturating_add(next()?);
        one.written = one.written.saturating_add(next()?);
        one.processes = one.processes.saturating_add(next()?);
    }
    report.ends_with("end\n").then_some(measured)
}

/// Runs in the process of its own.
fn work(owners: &Owners, subjects: &[Subject], writer: &PipeWriter) -> io::Result<()> {
    process::step_back();
    process::die_with_parent()?;
    process::duplicate_onto(writer.as_fd(), 1)?;
    process::close_from(3)?;
    for (index, measured) in nameless(subjects).iter().enumerate() {
        report(index, measured)?;
    }
    match owners.fork()? {
        Forked::Parent(child) => {
            let status = child.reap(true)?;
            if status == Some(0) { say(END) } else { Err(io::Error::other("the walk failed")) }
        }
        Forked::Child => {
            let walked = process::die_with_parent().and_then(|()| walk_all(subjects));
            process::exit_copy(i32::from(walked.is_err()))
        }
    }
}

fn walk_all(subjects: &[Subject]) -> io::Result<()> {
    for (index, subject) in subjects.iter().enumerate() {
        for path in &subject.paths {
            // The session may just be ending; nothing is said of it then.
            if let Ok(walk::Measure { bytes, files }) = walk::measure(path) {
                report(index, &Measured { bytes, files, ..Measured::default() })?;
            }
        }
    }
    Ok(())
}

fn report(index: usize, measured: &Measured) -> io::Result<()> {
    let Measured { bytes, files, written, processes } = measured;
    say(&format!("{index} {bytes} {files} {written} {processes}"))
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// What is on disk without a name, and what was written, by the processes of each subject.
fn nameless(subjects: &[Subject]) -> Vec<Measured> {
    let mut measured = vec![Measured::default(); subjects.len()];
    let mut seen: Vec<HashSet<(u64, u64)>> = vec![HashSet::new(); subjects.len()];
    let mut left = vec![DESCRIPTORS_MAX; subjects.len()];
    let devices: Vec<HashSet<u64>> = subjects.iter().map(|subject| devices(&subject.paths)).collect();
    let namespaces: HashMap<PathBuf, usize> = subjects
        .iter()
        .enumerate()
        .filter_map(|(index, subject)| Some((namespace(&subject.hand.to_string().into())?, index)))
        .collect();
    let Ok(processes) = std::fs::read_dir("/proc") else { return measured };
    for name in processes.flatten().map(|entry| entry.file_name()) {
        let Some(index) = namespace(&name).and_then(|namespace| namespaces.get(&namespace).copied()) else {
            continue;
        };
        let process = Path::new("/proc").join(&name);
        measured[index].written += written(&process);
        measured[index].processes += u64::from(name != subjects[index].hand.to_string().as_str());
        measured[index].bytes += held(&process, &devices[index], &mut seen[index], &mut left[index]);
    }
    measured
}

/// The process namespace of a process.
fn namespace(pid: &OsString) -> Option<PathBuf> {
    std::fs::read_link(Path::new("/proc").join(pid).join("ns/pid")).ok()
}

fn written(process: &Path) -> u64 {
    let counts = std::fs::read_to_string(process.join("io")).unwrap_or_default();
    let line = counts.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The file systems of these folders.
fn devices(paths: &[PathBuf]) -> HashSet<u64> {
    paths.iter().filter_map(|path| Some(path.metadata().ok()?.dev())).collect()
}

/// What the deleted files that a process holds open take on disk. Such files in memory count as memory, unless the
/// sandbox's folders (`devices`) are in memory too: then they take what the server's own file system has.
fn held(process: &Path, devices: &HashSet<u64>, seen: &mut HashSet<(u64, u64)>, left: &mut usize) -> u64 {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return 0 };
    let mut bytes = 0;
    for path in descriptors.flatten().map(|entry| entry.path()) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        let Ok(found) = path.metadata() else { continue };
        let is_nameless = found.is_file() && found.nlink() == 0 && found.blocks() > 0;
        let counts =
            || devices.contains(&found.dev()) || sys::kind(&path).is_ok_and(|kind| kind != sys::TMPFS);
        if is_nameless && counts() && seen.insert((found.dev(), found.ino())) {
            bytes += found.blocks() * BLOCK_BYTES;
        }
    }
    bytes
}
