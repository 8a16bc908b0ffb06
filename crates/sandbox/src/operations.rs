//! Programs and files inside a sandbox, for the server itself: [`Sandbox::operate`] with a type for each answer.
//!
//! A sandbox is hostile, and so may its hand be once somebody inside has taken it over. What it answers is checked here:
//! no more than was asked for, and paths that lead nowhere but down.

use std::path::Component;
use std::path::Path;
use std::sync::Arc;

use api::ids::EventId;
use hand::protocol::operation::Answer;
use hand::protocol::operation::Exec;
use hand::protocol::operation::Exited;
use hand::protocol::operation::Failure;
use hand::protocol::operation::ListFiles;
use hand::protocol::operation::Listing;
use hand::protocol::operation::Metadata;
use hand::protocol::operation::Operation;
use hand::protocol::operation::Part;
use hand::protocol::operation::ReadFile;
use hand::protocol::operation::Stream;
use hand::protocol::operation::WriteFile;

use crate::Error;
use crate::Sandbox;

/// Takes what a program prints, as it comes. Called while others wait for the same sandbox, so it must not block.
pub type Output = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

impl dyn Sandbox + '_ {
    /// Runs a program and waits for its end. One whose id the sandbox already knows is not run again: its answer is the
    /// first one. It is kept until [`Sandbox::acknowledge`], and [`Sandbox::cancel`] ends it; dropping the future does not.
    pub async fn exec(&self, id: &EventId, exec: Exec, output: Option<Output>) -> Result<Exited, Error> {
        let exec = Exec { is_streamed: output.is_some(), ..exec };
        let most = exec.output_bytes_max as usize;
        match self.operate(Some(id), Operation::Exec(exec), output).await? {
            Answer::Exited(exited) if exited.stdout.tail.len().max(exited.stderr.tail.len()) <= most => {
                Ok(exited)
            }
            answer => Err(refused("run a program", answer)),
        }
    }

    /// Writes a file, whole or not at all. At most once per id; the answer is kept until [`Sandbox::acknowledge`].
    pub async fn write_file(&self, id: &EventId, write: WriteFile) -> Result<Metadata, Error> {
        match self.operate(Some(id), Operation::WriteFile(write), None).await? {
            Answer::Written(metadata) => Ok(metadata),
            answer => Err(refused("write a file", answer)),
        }
    }

    /// Reads a part of a file.
    pub async fn read_file(&self, read: ReadFile) -> Result<Part, Error> {
        let most = read.bytes_max as usize;
        match self.operate(None, Operation::ReadFile(read), None).await? {
            Answer::Part(part) if part.bytes.len() <= most => Ok(part),
            answer => Err(refused("read a file", answer)),
        }
    }

    /// Lists a page of the files below a folder.
    pub async fn list_files(&self, list: ListFiles) -> Result<Listing, Error> {
        match self.operate(None, Operation::ListFiles(list.clone()), None).await? {
            Answer::Listing(listing) if is_page_of(&listing, &list) => Ok(listing),
            answer => Err(refused("list files", answer)),
        }
    }
}

/// The error for an answer that is none to the question.
fn refused(attempt: &'static str, answer: Answer) -> Error {
    match answer {
        Answer::Failed(Failure { kind, message }) => Error::Operation { kind, message },
        Answer::Exited(_) | Answer::Written(_) | Answer::Part(_) | Answer::Listing(_) => {
            Error::Misanswered { attempt }
        }
    }
}

/// Whether a page has what was asked for: plain paths below the folder, in order, so that the last one ends.
fn is_page_of(listing: &Listing, list: &ListFiles) -> bool {
    let paths = || listing.entries.iter().map(|entry| entry.path.as_path());
    let all = || list.after.as_deref().into_iter().chain(paths());
    listing.entries.len() <= list.entries_max as usize
        && paths().all(|path| is_below(path, list.depth))
        && all().zip(all().skip(1)).all(|(one, next)| one < next)
        && listing.next.as_deref().is_none_or(|next| paths().next_back() == Some(next))
}

fn is_below(path: &Path, depth: u32) -> bool {
    let is_plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    is_plain && (1..=depth as usize).contains(&path.components().count())
}

#[cfg(test)]
mod tests {
    use hand::protocol::operation::Entry;
    use hand::protocol::operation::FileKind;

    use super::*;

    #[test]
    fn a_page_with_paths_that_lead_elsewhere_or_round_is_refused() {
        let metadata = Metadata { kind: FileKind::File, bytes: 0, modified_micros: 0, mode: 0, inode: 0 };
        let is_taken = |paths: &[&str], next: Option<&str>| {
            let entries = paths.iter().map(|path| Entry { path: path.into(), metadata }).collect();
            let listing = Listing { entries, next: next.map(Into::into), unreadable: 0 };
            let after = Some("b".into());
            is_page_of(&listing, &ListFiles { path: "/x".into(), depth: 2, entries_max: 3, after })
        };
        assert!(is_taken(&["b/a", "c", "c/d"], Some("c/d")));
        assert!(is_taken(&[], None));
        for paths in [
            &["/c"][..],
            &["c/../../d"],
            &[""],
            &["b"],
            &["a"],
            &["d", "c"],
            &["c", "c"],
            &["c/d/e"],
            &["c", "d", "e", "f"],
        ] {
            assert!(!is_taken(paths, None), "{paths:?}");
        }
        for next in ["c", "e"] {
            assert!(!is_taken(&["c", "d"], Some(next)));
        }
        assert!(!is_taken(&[], Some("b")));
    }
}
