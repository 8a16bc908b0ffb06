//! Files for the server: parts of them read, whole ones written, folders listed.
//!
//! Runs in a forked child, as the file tools do, so that a file that keeps it waiting costs that child alone. Whatever lies
//! in the sandbox is hostile: only regular files are opened, nothing that is read has to fit into memory, and files may
//! come, go and change at any moment.

mod list;
mod read;
mod write;

use std::fs::Metadata as FsMetadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FileType;

pub(crate) use self::write::temporary;

use crate::protocol::operation::Answer;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::FileKind;
use crate::protocol::operation::ListFiles;
use crate::protocol::operation::Metadata;
use crate::protocol::operation::PATH_BYTES_MAX;
use crate::protocol::operation::ReadFile;
use crate::protocol::operation::WriteFile;

/// An operation on files.
pub(crate) enum FileOperation {
    Read(ReadFile),
    Write(WriteFile),
    List(ListFiles),
}

impl FileOperation {
    /// The verb for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::List(_) => "list",
        }
    }

    /// Whether its answer is kept until it is acknowledged: reading again is harmless.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Write(_) => true,
            Self::Read(_) | Self::List(_) => false,
        }
    }

    /// The file or folder.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Read(ReadFile { path, .. })
            | Self::Write(WriteFile { path, .. })
            | Self::List(ListFiles { path, .. }) => path,
        }
    }

    /// Performs it here and now. Relative paths start at `workspace`.
    pub(crate) fn run(&self, workspace: &Path) -> Answer {
        let attempt = Attempt { verb: self.name(), path: self.path() };
        let answer = attempt.locate(workspace).and_then(|path| match self {
            Self::Read(request) => read::run(request, &path, &attempt).map(Answer::Part),
            Self::Write(request) => write::run(request, &path, &attempt).map(Answer::Written),
            Self::List(request) => list::run(request, &path, &attempt).map(Answer::Listing),
        });
        answer.unwrap_or_else(Answer::Failed)
    }

    /// The failure of one that did not get as far as an answer.
    pub(crate) fn failure(&self, kind: FailureKind, reason: &str) -> Failure {
        Attempt { verb: self.name(), path: self.path() }.failure(kind, reason)
    }
}

/// What is attempted, for messages.
struct Attempt<'a> {
    verb: &'static str,
    path: &'a Path,
}

impl Attempt<'_> {
    fn locate(&self, workspace: &Path) -> Result<PathBuf, Failure> {
        let bytes = self.path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(self.failure(FailureKind::Invalid, "not a path"));
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(self.failure(FailureKind::Invalid, "the path is too long"));
        }
        Ok(workspace.join(self.path))
    }

    fn failure(&self, kind: FailureKind, reason: &str) -> Failure {
        Failure { kind, message: format!("{} {}: {reason}", self.verb, self.path.display()) }
    }

    /// The failure of a system call.
    fn failed(&self, error: &io::Error) -> Failure {
        use io::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::NotFound => FailureKind::NotFound,
            Kind::NotADirectory | Kind::IsADirectory => FailureKind::WrongKind,
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => FailureKind::Denied,
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => FailureKind::NoSpace,
            Kind::InvalidFilename | Kind::InvalidInput => FailureKind::Invalid,
            _ => FailureKind::Other,
        };
        self.failure(kind, &error.to_string())
    }
}

/// The facts about an open file.
fn facts(metadata: &FsMetadata) -> Metadata {
    Metadata {
        kind: kind(FileType::from_raw_mode(metadata.mode())),
        bytes: metadata.len(),
        modified_micros: micros(metadata.mtime(), metadata.mtime_nsec()),
        mode: metadata.mode() & 0o7777,
        inode: metadata.ino(),
    }
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Special,
    }
}

/// Times are set by whoever owns a file, to anything.
fn micros(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}
