//! A running bash and the talk with the loop it runs (`driver.bash`).
//!
//! The loop is the first line of the driver, so that lines of a command count from one in the messages of bash; it reads
//! the rest, which it needs, as data. The driver's own lines run outside the redirection, so that nothing of it shows
//! under `set -x`. A report comes before the wait for the next command and not after the last, so that `continue` does
//! not skip it.
//!
//! Descriptor 0 of the shell is the driver's text, 3 a pipe on which it waits for `NUMBER PATH` of the next command, 4 a
//! pipe for its reports, 5 a file in memory with the command itself. During a command the shell has 3, 4 and 5 closed
//! and its output goes to the named pipe PATH. Nothing a command prints can look like a report; one that digs out the
//! saved descriptors can only break its own shell, which is then replaced.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::limits::REPORT_BYTES_MAX;
use crate::place::Place;
use crate::place::SHELL;
use crate::process::MARK;
use crate::scratch;
use crate::sys;
use crate::sys::Pid;

const DRIVER: &str = include_str!("driver.bash");

/// A shell process.
pub(crate) struct Bash {
    /// Its process.
    pub(crate) pid: Pid,
    /// Where reports come from.
    pub(crate) reports: File,
    doorbell: File,
    command: File,
    partial: Vec<u8>,
    state_path: PathBuf,
}

/// What the driver says after each command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Number of the command.
    pub(crate) number: u64,
    /// Its status; `None` if its output could not be opened, so that it was not run.
    pub(crate) status: Option<i32>,
    /// A script that brings a new shell to the same folder and exported variables.
    pub(crate) state: Vec<u8>,
}

impl Bash {
    /// Starts a shell. `name` tells its files from those of others.
    pub(crate) fn start(thread: &str, name: &str, place: &Place) -> io::Result<Self> {
        let state_path = scratch::small_file(&place.scratch, &format!("{name}.state"))?;
        let mut script = sys::memory_file("driver")?;
        script.write_all(
            format!("{DRIVER}__jm_state={}\n\0", quoted(&state_path.to_string_lossy())).as_bytes(),
        )?;
        script.rewind()?;
        let command = sys::memory_file("command")?;
        let (bell_reader, doorbell) = sys::pipe()?;
        let (reports, report_writer) = sys::pipe()?;
        sys::unblock(&reports)?;
        let mut program = Command::new(SHELL);
        program.arg0("bash").args(["--noprofile", "--norc"]).current_dir(place.folder());
        program.env_clear().envs(place.environment()).env(MARK, thread);
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let pid =
            sys::spawn(&mut program, &[(&script, 0), (&bell_reader, 3), (&report_writer, 4), (&command, 5)])?;
        Ok(Self { pid, reports, doorbell, command, partial: Vec::new(), state_path })
    }

    /// Hands over a command. Errors show as the end of the shell.
    pub(crate) fn ring(&mut self, number: u64, command: &[u8], output: &Path) -> io::Result<()> {
        // The shell shares the file's position, so it is set here for both.
        self.command.set_len(0)?;
        self.command.write_all_at(command, 0)?;
        self.command.write_all_at(&[0], command.len() as u64)?;
        self.command.rewind()?;
        self.doorbell.write_all(format!("{number} {}\n", output.display()).as_bytes())
    }

    /// Hands over the script of a saved state, as command 0.
    pub(crate) fn restore(&mut self, state: &[u8]) -> io::Result<()> {
        let mut script = state.to_vec();
        // The script sets the driver's own variables too, to what they were in another shell.
        let own = quoted(&self.state_path.to_string_lossy());
        script.extend_from_slice(format!("\n__jm_seq=0 __jm_last=0 __jm_state={own}\n").as_bytes());
        self.ring(0, &script, "/dev/null".as_ref())
    }

    /// Reports that have come. An error: the shell talks nonsense.
    pub(crate) fn reports(&mut self) -> io::Result<Vec<Report>> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.reports.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.partial.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.partial.len() > REPORT_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        let mut reports = Vec::new();
        while let Some((report, length)) = parse(&self.partial)? {
            self.partial.drain(..length);
            reports.push(report);
        }
        Ok(reports)
    }

    /// What an ending shell saved: like [`Report::state`], with every variable, function and alias.
    pub(crate) fn last_state(&self) -> Option<Vec<u8>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(&self.state_path).ok()?;
        let mut state = Vec::new();
        if file.metadata().ok()?.is_file() {
            file.take(REPORT_BYTES_MAX as u64).read_to_end(&mut state).ok()?;
        }
        fs::remove_file(&self.state_path).ok()?;
        // The driver's last line; a full disk may have cut it off.
        let is_whole = state.ends_with(b"#\n");
        is_whole.then_some(state)
    }
}

/// The first report in `bytes` and its length.
fn parse(bytes: &[u8]) -> io::Result<Option<(Report, usize)>> {
    let mut fields = bytes.splitn(5, |byte| *byte == 0);
    let (Some(number), Some(status), Some(folder), Some(exports), Some(_)) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Ok(None);
    };
    let length = number.len() + status.len() + folder.len() + exports.len() + 4;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let number = text(number).parse().map_err(|_| io::ErrorKind::InvalidData)?;
    let mut state = format!("builtin cd -- {}\n", quoted(&text(folder))).into_bytes();
    state.extend_from_slice(exports);
    Ok(Some((Report { number, status: text(status).parse().ok(), state }, length)))
}

/// `text` as one word of shell source.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_cut_at_its_fourth_field() {
        let bytes = b"7\x000\x00/a 'b\x00declare -x A=\"1\"\n\x008\x00";
        let (report, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len() - 2);
        let state = b"builtin cd -- '/a '\\''b'\ndeclare -x A=\"1\"\n".to_vec();
        assert_eq!(report, Report { number: 7, status: Some(0), state });
        assert_eq!(parse(b"8\x00x\x00/").unwrap(), None);
        assert!(parse(b"junk\x00\x00\x00\x00").is_err());
    }
}
