//! A walk through a tree that is as deep and as wide as its maker liked: in order of the names, with a bounded number of
//! open folders, and never through a link.

use std::ffi::CString;
use std::fs::File;
use std::io;

use super::Attempt;
use super::Error;
use super::PATH_BYTES_MAX;
use super::shown;
use super::sys;

/// Folders that are open at once; those above are opened again when the walk comes back to them.
const OPEN_MAX: usize = 64;

/// A walk.
pub(super) struct Walk<'a> {
    root: &'a File,
    levels: Vec<Level>,
    /// The folder that the walk is in, relative to the root, with a slash at its end.
    path: Vec<u8>,
}

struct Level {
    /// `None`: closed to bound how many are open.
    folder: Option<File>,
    identity: (u64, u64),
    names: Vec<u8>,
    starts: std::vec::IntoIter<usize>,
    /// Length of the path of the folder.
    path_bytes: usize,
}

/// What the walk comes to.
pub(super) struct Step<'w> {
    pub(super) folder: &'w File,
    pub(super) name: CString,
    pub(super) path: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// A walk of `root`.
    pub(super) fn new(root: &'a File) -> Result<Self, Error> {
        let mut walk = Self { root, levels: Vec::new(), path: Vec::new() };
        let own = root.try_clone().attempt("open", b".")?;
        walk.enter(own, b"")?;
        Ok(walk)
    }

    /// The next name of the folder that the walk is in, or of the one above.
    pub(super) fn next(&mut self) -> Result<Option<Step<'_>>, Error> {
        let start = loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            if let Some(start) = level.starts.next() {
                break start;
            }
            self.levels.pop();
            let path_bytes = self.levels.last().map_or(0, |level| level.path_bytes);
            self.path.truncate(path_bytes);
        };
        self.open_again()?;
        let level = self.levels.last().expect("found above");
        let name = sys::name_at(&level.names, start).to_owned();
        let path = [self.path.as_slice(), name.as_bytes()].concat();
        let folder = level.folder.as_ref().expect("opened above");
        Ok(Some(Step { folder, name, path }))
    }

    /// Goes into `folder`, which the walk has just come to at `path`.
    pub(super) fn enter(&mut self, folder: File, path: &[u8]) -> Result<(), Error> {
        let identity = sys::status_of(&folder).attempt("look at", path)?.identity;
        let (names, starts) = sys::names(&folder).attempt("list", path)?;
        self.path = path.to_vec();
        if !path.is_empty() {
            self.path.push(b'/');
        }
        let path_bytes = self.path.len();
        let above = self.levels.len().checked_sub(OPEN_MAX);
        if let Some(level) = above.and_then(|above| self.levels.get_mut(above)) {
            level.folder = None;
        }
        let starts = starts.into_iter();
        self.levels.push(Level { folder: Some(folder), identity, names, starts, path_bytes });
        Ok(())
    }

    fn open_again(&mut self) -> Result<(), Error> {
        let Some(level) = self.levels.last_mut().filter(|level| level.folder.is_none()) else {
            return Ok(());
        };
        let path = self.path.strip_suffix(b"/").unwrap_or(b".");
        let c_path = CString::new(path).expect("made of names without NUL");
        let folder = sys::open_plain_folder(self.root, &c_path).attempt("open", path)?;
        if sys::status_of(&folder).attempt("look at", path)?.identity != level.identity {
            let source = io::Error::other("it was replaced meanwhile");
            return Err(Error::File { attempt: "open", path: shown(path), source });
        }
        level.folder = Some(folder);
        Ok(())
    }
}

/// Whether a path can be read back.
pub(super) fn is_reachable(path: &[u8]) -> bool {
    path.len() <= PATH_BYTES_MAX
}
