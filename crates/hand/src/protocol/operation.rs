//! Operations of the server's own, beside the tools of a model: run a program, read, write and list files.
//!
//! All of them happen inside the sandbox, as its user. Paths are bytes; a relative one starts at the workspace. Every size
//! has a bound, so that an answer always fits into a frame.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use super::binary;

/// Bytes of standard input that a program is given.
pub const STDIN_BYTES_MAX: usize = 16 << 20;
/// Bytes of each output stream that an answer carries.
pub const OUTPUT_BYTES_MAX: u32 = 8 << 20;
/// Longest time that a program may ask for, in milliseconds.
pub const TIME_MS_MAX: u64 = 2 * 3_600_000;
/// Bytes of a file that one answer carries.
pub const READ_BYTES_MAX: u32 = 4 << 20;
/// Bytes of a file that is written.
pub const WRITE_BYTES_MAX: usize = 16 << 20;
/// Levels of folders that a listing goes down; each costs a descriptor.
pub const LIST_DEPTH_MAX: u32 = 64;
/// Entries of one page of a listing.
pub const LIST_ENTRIES_MAX: u32 = 10_000;
/// Bytes of a path, as the kernel bounds it.
pub const PATH_BYTES_MAX: usize = 4_095;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Runs a program. At most once per id; its answer is kept until it is acknowledged.
    Exec(Exec),
    /// Writes a file. At most once per id; its answer is kept until it is acknowledged.
    WriteFile(WriteFile),
    /// Reads a part of a file. Its answer goes to the connection that asked, once.
    ReadFile(ReadFile),
    /// Lists the files below a folder. Its answer goes to the connection that asked, once.
    ListFiles(ListFiles),
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program, looked up in the sandbox's `PATH` unless it holds a slash, and its arguments.
    pub arguments: Vec<String>,
    /// Where it starts; in the workspace without one.
    #[serde(with = "binary::optional_path")]
    pub folder: Option<PathBuf>,
    /// Environment variables, over those of the tools.
    pub variables: Vec<(String, String)>,
    /// Standard input, which ends after these bytes. At most [`STDIN_BYTES_MAX`].
    #[serde(with = "binary::bytes")]
    pub stdin: Vec<u8>,
    /// Time that it may take. At most [`TIME_MS_MAX`].
    pub time_ms: u64,
    /// Bytes of each output stream that the answer carries, the last ones. At most [`OUTPUT_BYTES_MAX`].
    pub output_bytes_max: u32,
    /// Whether standard error goes where standard output goes, in the order of writing.
    pub merges_stderr: bool,
    /// Whether output is sent as it comes, too. A connection that reads slowly slows the program down.
    pub is_streamed: bool,
}

/// A part of a file to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    /// A regular file. Links are followed.
    #[serde(with = "binary::path")]
    pub path: PathBuf,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is at most: up to [`READ_BYTES_MAX`]. With zero only the metadata is read.
    pub bytes_max: u32,
}

/// A file to write: whoever reads meanwhile sees the old one or the whole new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Where; a link of that name is replaced, not followed. Folders on the way may be links.
    #[serde(with = "binary::path")]
    pub path: PathBuf,
    /// All of it. At most [`WRITE_BYTES_MAX`].
    #[serde(with = "binary::bytes")]
    pub content: Vec<u8>,
    /// Permission bits, up to 0o777.
    pub mode: u32,
    /// Whether folders that are missing are made.
    pub makes_parents: bool,
}

/// A folder to list. The order is that of paths compared name by name, byte by byte, a folder before what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListFiles {
    /// The folder; not a link to one.
    #[serde(with = "binary::path")]
    pub path: PathBuf,
    /// Levels to go down: 1 lists the folder alone. Up to [`LIST_DEPTH_MAX`].
    pub depth: u32,
    /// Entries of a page. 1 to [`LIST_ENTRIES_MAX`].
    pub entries_max: u32,
    /// The last entry of the page before: [`Listing::next`].
    #[serde(with = "binary::optional_path")]
    pub after: Option<PathBuf>,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The program has ended.
    Exited(Exited),
    /// The file is written.
    Written(Metadata),
    /// A part of a file.
    Part(Part),
    /// A page of a listing.
    Listing(Listing),
    /// Nothing was done, or not all of it.
    Failed(Failure),
}

/// A program that has ended. Processes that it left in the background go on unless it was ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exited {
    /// How it ended.
    pub end: End,
    /// What it printed to standard output.
    pub stdout: Captured,
    /// What it printed to standard error.
    pub stderr: Captured,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself, with this status.
    Status(i32),
    /// By this signal, which the hand did not send.
    Signal(i32),
    /// It took longer than it may, and was killed with all that it started.
    TimedOut,
    /// It was cancelled, and killed with all that it started.
    Cancelled,
    /// Everything in the sandbox was stopped, for this reason.
    Stopped(String),
}

/// Output of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// How much was printed.
    pub bytes_total: u64,
    /// The end of it.
    #[serde(with = "binary::bytes")]
    pub tail: Vec<u8>,
}

/// Which output of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The file as it was before the part was read. A file whose metadata differs from part to part has changed.
    pub metadata: Metadata,
    /// The bytes from the offset on.
    #[serde(with = "binary::bytes")]
    pub bytes: Vec<u8>,
    /// Whether the file ends here.
    pub is_last: bool,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// In order.
    pub entries: Vec<Entry>,
    /// Where the next page begins; absent on the last one.
    #[serde(with = "binary::optional_path")]
    pub next: Option<PathBuf>,
    /// Folders on this page that may not be read, or whose paths are too long.
    pub unreadable: u32,
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its path below the folder that is listed.
    #[serde(with = "binary::path")]
    pub path: PathBuf,
    /// What it is; of a link, the link's own.
    pub metadata: Metadata,
}

/// Facts about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// What kind of file it is.
    pub kind: FileKind,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, in microseconds since 1970.
    pub modified_micros: i64,
    /// Permission bits.
    pub mode: u32,
    /// Its number in its file system: another file of the same name has another one.
    pub inode: u64,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, or a socket.
    Special,
}

/// An operation that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The kind of it.
    pub kind: FailureKind,
    /// What was attempted, on what, and why it failed.
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request is over a bound or makes no sense.
    Invalid,
    /// There is no such file, folder or program.
    NotFound,
    /// It is not a regular file, or not a folder, where one is needed.
    WrongKind,
    /// The sandbox's user may not do that.
    Denied,
    /// There is no room on the disk, or the quota is used up.
    NoSpace,
    /// As many operations of this kind run as may.
    Busy,
    /// It took too long.
    TimedOut,
    /// It was cancelled, or everything in the sandbox was stopped.
    Cancelled,
    /// The operation ran before and its answer was acknowledged; it was not run again.
    Repeated,
    /// Anything else.
    Other,
}
