//! What a session is given from outside: folders that are shown to it, and files in them.
//!
//! Every folder is the session's own and lies beside what it writes. One is always there, read-only, for uploads; others are
//! mounted where a [`Mount`] says, from the start or while the sandbox runs.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use api::ids::SessionId;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use crate::Error;
use crate::beneath;
use crate::link::Link;
use crate::wire::Answer;
use crate::wire::Ask;

/// Where uploads are shown.
pub const UPLOADS: &str = "/mnt/session/uploads";
/// Largest file that a session is given.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Mounts of one session.
pub const MOUNTS_MAX: usize = 64;

const TARGET_BYTES_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 1024;
const PATH_DEPTH_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 255;
/// Permission bits that a file may be given.
const MODES: u32 = 0o777;

/// A folder of a session's own that is shown to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where it is inside.
    pub target: MountTarget,
    /// Whether it can be written to inside.
    pub access: Access,
}

/// Whether a folder can be written to inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// By nobody inside, root included.
    ReadOnly,
    /// As its permissions say. What is written counts as the session's files.
    ReadWrite,
}

/// Where a folder is mounted: an absolute path below `/mnt` of ASCII letters, digits, `-`, `_` and `.`, neither above nor
/// in the place of uploads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountTarget(String);

/// Something that no folder can be mounted on.
#[derive(Debug, thiserror::Error)]
#[error("read the place of a mount: {0:?} is not a plain path below /mnt, or is that of uploads")]
pub struct NotATarget(String);

/// Which file in a folder: a relative path of bounded length and depth, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// Something that does not name a file in a folder.
#[derive(Debug, thiserror::Error)]
#[error("read the path of a file: {0:?} is not relative and plain, or too long")]
pub struct NotAPath(String);

/// One of the folders that a session is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// The one at [`UPLOADS`].
    Uploads,
    /// One that is mounted, or will be.
    Mount(MountTarget),
}

impl MountTarget {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this lies below another.
    pub fn is_below(&self, other: &Self) -> bool {
        self.below(other).is_some()
    }

    /// The way from another to this one, which lies below it.
    pub(crate) fn below(&self, other: &Self) -> Option<&str> {
        self.0.strip_prefix(other.as_str())?.strip_prefix('/')
    }

    /// A name for it that is unlike any other's.
    pub(crate) fn name(&self) -> String {
        self.0.trim_start_matches('/').replace('/', "+")
    }
}

impl TryFrom<String> for MountTarget {
    type Error = NotATarget;

    fn try_from(text: String) -> Result<Self, NotATarget> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = |name: &str| !["", ".", ".."].contains(&name) && name.bytes().all(is_plain);
        let is_below = |text: &str, other: &str| {
            text == other || text.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        let is_target = text.len() <= TARGET_BYTES_MAX
            && text.strip_prefix("/mnt/").is_some_and(|rest| rest.split('/').all(is_name))
            && !is_below(&text, UPLOADS)
            && !is_below(UPLOADS, &text);
        if is_target { Ok(Self(text)) } else { Err(NotATarget(text)) }
    }
}

impl TryFrom<String> for FilePath {
    type Error = NotAPath;

    fn try_from(text: String) -> Result<Self, NotAPath> {
        let is_name = |name: &str| {
            !["", ".", ".."].contains(&name) && name.len() <= NAME_BYTES_MAX && !name.contains('\0')
        };
        let is_path = text.len() <= PATH_BYTES_MAX
            && text.split('/').count() <= PATH_DEPTH_MAX
            && text.split('/').all(is_name);
        if is_path { Ok(Self(text)) } else { Err(NotAPath(text)) }
    }
}

impl FilePath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for MountTarget {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        Self::try_from(text.to_owned())
    }
}

impl std::str::FromStr for FilePath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        Self::try_from(text.to_owned())
    }
}

impl From<MountTarget> for String {
    fn from(target: MountTarget) -> Self {
        target.0
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl std::fmt::Display for MountTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for FilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which file is put where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePlace {
    /// Whose it is.
    pub session: SessionId,
    /// The folder that it is shown in.
    pub folder: Folder,
    /// Its path in there. Folders on the way are made.
    pub path: FilePath,
    /// Its permissions; only those for reading, writing and executing count.
    pub mode: u32,
}

impl FilePlace {
    /// Its permissions.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & MODES
    }
}

/// A file on its way in. It has no name before [`FileWriter::finish`] has returned, and leaves nothing when it is dropped.
#[derive(Debug)]
pub struct FileWriter {
    file: tokio::fs::File,
    written: u64,
    place: FilePlace,
    home: Home,
}

/// Who gives a file its name.
#[derive(Debug)]
enum Home {
    Spawner(Arc<Link>),
    /// This process, in this folder.
    Own(PathBuf),
}

impl FileWriter {
    pub(crate) fn of_spawner(file: OwnedFd, place: FilePlace, link: Arc<Link>) -> Self {
        Self::over(File::from(file), place, Home::Spawner(link))
    }

    pub(crate) fn of_folder(file: File, place: FilePlace, folder: PathBuf) -> Self {
        Self::over(file, place, Home::Own(folder))
    }

    fn over(file: File, place: FilePlace, home: Home) -> Self {
        Self { file: tokio::fs::File::from_std(file), written: 0, place, home }
    }

    /// Appends to the file.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > FILE_BYTES_MAX {
            return Err(failed(&self.place, &format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        self.file.write_all(bytes).await.map_err(|error| failed(&self.place, &error))
    }

    /// Shows the file in its place, at once and whole; a file that was there is replaced.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(|error| failed(&self.place, &error))?;
        let file = self.file.into_std().await;
        match self.home {
            Home::Own(folder) => {
                let Self { place, .. } = self;
                beneath::put(&folder, &place.path, &file, place.permissions())
                    .map_err(|error| failed(&place, &error))
            }
            Home::Spawner(link) => {
                let ask = Ask::PutFile { place: self.place.clone() };
                let answered = link.ask_with(ask, Some(file.as_fd())).await;
                match answered.map_err(|source| Error::Spawner { attempt: "ask", source })? {
                    (Answer::Ended, _) => Ok(()),
                    (Answer::Failed { reason }, _) => Err(failed(&self.place, &reason)),
                    (answer, _) => Err(failed(&self.place, &format!("{answer:?}"))),
                }
            }
        }
    }
}

pub(crate) fn failed(place: &FilePlace, reason: &impl ToString) -> Error {
    let FilePlace { session, folder: _, path, mode: _ } = place;
    Error::Layer { attempt: format!("give session {session} the file {path}"), reason: reason.to_string() }
}
