//! Scripts of bash in a sandbox: short ones, and those of builds, whose output is looked at while they run.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use api::ids::EventId;
use api::ids::Ids;
use sandbox::Output;
use sandbox::Sandbox;
use sandbox::operation::End;
use sandbox::operation::Exec;
use sandbox::operation::Exited;
use sandbox::operation::WriteFile;
use sandbox::plain_text;

use super::recipe::FOLDER;
use crate::error::chain;
use crate::limits;

const BUILD_TIME_MS: u64 = limits::BUILD_TIME_MAX.as_secs() * 1_000;
const _: () = assert!(BUILD_TIME_MS <= sandbox::operation::TIME_MS_MAX);

/// The end of what a script has printed so far.
#[derive(Default)]
pub(super) struct Printed(Mutex<VecDeque<u8>>);

impl Printed {
    fn push(&self, bytes: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(bytes);
        let excess = all.len().saturating_sub(limits::BUILD_LOG_BYTES_MAX as usize);
        all.drain(..excess);
    }

    /// The last lines. A line that was written over, as progress is shown, counts as many.
    pub(super) fn last_lines(&self) -> String {
        let mut bytes: Vec<u8> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().copied().filter(|byte| *byte != 0).collect()
        };
        bytes.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        let text = plain_text(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(limits::BUILD_LINES_MAX);
        lines[first..].join("\n").trim_end_matches('\n').to_owned()
    }
}

/// Runs a short script and gives what it printed.
pub(crate) async fn run(sandbox: &dyn Sandbox, ids: &Ids, script: &str) -> Result<String, String> {
    let arguments = ["bash", "-c", script].map(str::to_owned).into();
    let exec = exec(arguments, limits::SCRIPT_OUTPUT_BYTES_MAX);
    let (status, exited) = finish(sandbox, &ids.make(), exec, None).await?;
    let text = plain_text(&exited.stdout.tail);
    if status == 0 { Ok(text) } else { Err(text) }
}

/// Runs a script that may be long and take long; its exit status.
pub(super) async fn long(
    sandbox: &dyn Sandbox,
    ids: &Ids,
    script: &str,
    printed: Arc<Printed>,
) -> Result<i32, String> {
    let path = PathBuf::from(FOLDER).join("step");
    let arguments = vec!["bash".to_owned(), path.display().to_string()];
    let write = WriteFile { path, content: script.into(), mode: 0o700, makes_parents: true };
    sandbox.write_file(&ids.make(), write).await.map_err(|error| chain(&error))?;
    let output: Output = Arc::new(move |_, bytes: &[u8]| printed.push(bytes));
    let exec = exec(arguments, limits::BUILD_LOG_BYTES_MAX);
    finish(sandbox, &ids.make(), exec, Some(output)).await.map(|(status, _)| status)
}

fn exec(arguments: Vec<String>, output_bytes_max: u32) -> Exec {
    Exec {
        arguments,
        folder: None,
        variables: Vec::new(),
        stdin: Vec::new(),
        time_ms: BUILD_TIME_MS,
        output_bytes_max,
        merges_stderr: true,
        is_streamed: false,
    }
}

/// Runs a program to its end; its exit status as shells tell it.
async fn finish(
    sandbox: &dyn Sandbox,
    id: &EventId,
    exec: Exec,
    output: Option<Output>,
) -> Result<(i32, Exited), String> {
    let exited = sandbox.exec(id, exec, output).await.map_err(|error| chain(&error))?;
    // One that is kept a little longer costs the sandbox some memory.
    drop(sandbox.acknowledge(std::slice::from_ref(id)).await);
    match &exited.end {
        End::Status(status) => Ok((*status, exited)),
        End::Signal(signal) => Ok((128 + signal, exited)),
        End::TimedOut => Err(format!("it took longer than {:?}", limits::BUILD_TIME_MAX)),
        End::Cancelled => Err("it was cancelled".to_owned()),
        End::Stopped(reason) => Err(format!("it was stopped: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_plain_and_bounded() {
        let printed = Printed::default();
        assert_eq!(printed.last_lines(), "");
        printed.push(b"\x1b[32mget\x1b[0m a\0b\r50%\r100%\n\xff\n\n");
        assert_eq!(printed.last_lines(), "get ab\n50%\n100%\n\u{fffd}");
        (0..50_000).for_each(|number| printed.push(format!("{number}\n").as_bytes()));
        let lines = printed.last_lines();
        assert_eq!((lines.lines().count(), lines.lines().next()), (100, Some("49900")));
    }
}
