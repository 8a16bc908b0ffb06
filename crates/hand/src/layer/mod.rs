//! Layers: what a sandbox wrote, as one archive, and back.
//!
//! A layer is packed from the *upper* folder of an overlay and unpacked into a folder that can be a *lower* one. It travels
//! in the form that container images use: a tar archive, compressed, in which `.wh.NAME` says that NAME was deleted and
//! `.wh..wh..opq` that nothing of the folders below shows through.
//!
//! Both sides are hostile. The tree was written by whoever was in the sandbox, the archive by whoever had it in between; so
//! nothing is opened by a path that could lead out of the folder, no link is followed when packing, and every number that
//! an archive names is bounded. This runs in a process of its own (`worker`), shut in with the folder alone (`jail`).

mod archive;
mod compression;
mod extents;
mod jail;
mod name;
mod pack;
mod pax;
mod stream;
mod sys;
mod unpack;
mod walk;
mod worker;

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

pub use pack::pack;
pub use unpack::unpack;
pub use worker::run;

use crate::confine::Identity;

/// Longest path of an entry that is packed. Deeper ones are out of reach for the calls that read them back.
const PATH_BYTES_MAX: usize = 4_000;
/// Characters of a path that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// Prefix of the name of a file that says that another was deleted.
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of names with a meaning of their own.
const RESERVED: &[u8] = b".wh..wh.";
/// Name of a file that says that its folder hides those below.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Attribute by which an overlay knows such a folder.
const OPAQUE_ATTRIBUTE: &[u8] = b"user.overlay.opaque";
/// Prefix of the attributes in which an overlay keeps its own state.
const OVERLAY_ATTRIBUTES: &[u8] = b"user.overlay.";

/// What a worker is to do. Every path is one of the host, absolute, and under the control of the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// Who the worker is on the host, and so whom the files belong to.
    pub identity: Identity,
    /// A folder with the empty folder `root`, to be mounted on.
    pub stage: PathBuf,
    /// The folder to work on.
    pub folder: PathBuf,
    /// What to do with it.
    pub work: Work,
}

/// What is done with a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It is the upper folder of an overlay, and becomes an archive.
    Pack,
    /// It is empty, and an archive is unpacked into it.
    Unpack {
        /// What bounds it.
        limits: Limits,
    },
}

/// What bounds unpacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the archive when it is no longer compressed.
    pub bytes_max: u64,
    /// Entries of the archive.
    pub entries_max: u64,
    /// Bytes of the path of one entry.
    pub path_bytes_max: usize,
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of the archive before it was compressed.
    pub bytes: u64,
    /// What has no place in an archive: sockets, devices, paths that are too long, and names that mean something else.
    pub skipped: u64,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the archive when it was no longer compressed.
    pub bytes: u64,
    /// Entries that were left out: devices, and what only other programs understand.
    pub skipped: u64,
    /// Entries whose owner does not exist here; they belong to whoever unpacked them.
    pub unowned: u64,
}

/// Why a layer was not packed or not unpacked.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "read as `layer::Error`")]
pub enum Error {
    /// Something about a file failed.
    #[error("{attempt} {path}: {source}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An entry is not acceptable.
    #[error("unpack {path}: {complaint}")]
    Refused {
        /// The entry.
        path: String,
        /// What is wrong with it.
        complaint: &'static str,
    },
    /// The archive is over a bound.
    #[error("unpack {path}: the archive has more than {limit} {unit}")]
    Limit {
        /// The entry at which it was met.
        path: String,
        /// The bound.
        limit: u64,
        /// What it counts.
        unit: &'static str,
    },
    /// The archive is not one, or broken.
    #[error("read the archive after {path}: {complaint}")]
    Malformed {
        /// The last entry that was read.
        path: String,
        /// What is wrong with it.
        complaint: &'static str,
    },
    /// The archive could not be read.
    #[error("read the archive after {path}")]
    Input {
        /// The last entry that was read.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("write the archive")]
    Output(#[source] io::Error),
}

/// Names the file that a failure belongs to.
trait Attempt<T> {
    fn attempt(self, attempt: &'static str, path: &[u8]) -> Result<T, Error>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, attempt: &'static str, path: &[u8]) -> Result<T, Error> {
        self.map_err(|source| Error::File { attempt, path: shown(path), source })
    }
}

/// A path for people: on one line, and not too long.
fn shown(path: &[u8]) -> String {
    match path {
        b"" => "the beginning".to_owned(),
        path => {
            let text = String::from_utf8_lossy(path);
            let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
            if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
                shown.push('…');
            }
            shown
        }
    }
}

/// Whether an extended attribute is one of those that users set, and not the overlay.
fn is_users(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(OVERLAY_ATTRIBUTES)
}
