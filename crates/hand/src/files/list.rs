//! A listing of what is below a folder, page by page.
//!
//! The order is total: a folder before what it holds, names by their bytes. So a page is found again by the last path of
//! the one before, whatever has come or gone. Memory is bounded by the page, however many names a folder has: only the
//! smallest names that can still be on it are kept, and a folder that held more is read again from there.
//!
//! Folders are reached through open ones, name by name and never through a link; so nothing below the folder leads out
//! of it, whatever is swapped meanwhile, and paths may be longer than the kernel takes them.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::ffi::OsString;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::fs::openat;
use rustix::fs::statat;
use rustix::io::Errno;

use super::Attempt;
use super::kind;
use super::micros;
use crate::protocol::operation::Entry;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::LIST_DEPTH_MAX;
use crate::protocol::operation::LIST_ENTRIES_MAX;
use crate::protocol::operation::ListFiles;
use crate::protocol::operation::Listing;
use crate::protocol::operation::Metadata;

/// Bytes of the paths on one page.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Lists it.
pub(super) fn run(request: &ListFiles, path: &Path, attempt: &Attempt<'_>) -> Result<Listing, Failure> {
    let ListFiles { path: _, depth, entries_max, after } = request;
    let invalid = |reason: &str| attempt.failure(FailureKind::Invalid, reason);
    if !(1..=LIST_DEPTH_MAX).contains(depth) {
        return Err(invalid(&format!("a depth of {depth}, which is not between 1 and {LIST_DEPTH_MAX}")));
    }
    if !(1..=LIST_ENTRIES_MAX).contains(entries_max) {
        let reason = format!("{entries_max} entries at once, which is not between 1 and {LIST_ENTRIES_MAX}");
        return Err(invalid(&reason));
    }
    let after = after.as_deref().map_or(Some(Vec::new()), names);
    let after = after.ok_or_else(|| invalid("the page does not begin after a path below the folder"))?;
    // A slash at the end would follow a link.
    let path: PathBuf = path.components().collect();
    let root = openat(CWD, &path, FOLDER, Mode::empty()).map_err(|error| attempt.failed(&error.into()))?;
    let mut page = Page {
        listing: Listing::default(),
        entries_max: *entries_max as usize,
        bytes: 0,
        is_full: false,
        path: Vec::new(),
    };
    match page.folder(&root, *depth, &after) {
        ControlFlow::Continue(Ok(())) | ControlFlow::Break(()) => {}
        ControlFlow::Continue(Err(error)) => return Err(attempt.failed(&error.into())),
    }
    let Page { mut listing, is_full, .. } = page;
    listing.next = listing.entries.last().filter(|_| is_full).map(|entry| entry.path.clone());
    Ok(listing)
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The names of a relative path that goes nowhere but down.
fn names(path: &Path) -> Option<Vec<CString>> {
    let names = path.components().map(|component| match component {
        Component::Normal(name) => CString::new(name.as_bytes()).ok(),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
}

/// A page that is being filled.
struct Page {
    listing: Listing,
    entries_max: usize,
    bytes: usize,
    is_full: bool,
    /// The folder that is being listed, as names.
    path: Vec<CString>,
}

impl Page {
    /// Lists a folder, from behind the path `after`. Breaks off when the page is full.
    fn folder(
        &mut self,
        folder: &OwnedFd,
        depth: u32,
        after: &[CString],
    ) -> ControlFlow<(), Result<(), Errno>> {
        let mut floor = after.first().map_or(Bound::Unbounded, Bound::Included);
        let mut last;
        loop {
            let (names, is_cut) = match self.smallest(folder, floor) {
                Ok(names) => names,
                Err(error) => return ControlFlow::Continue(Err(error)),
            };
            for name in &names {
                let is_resumed = after.first() == Some(name);
                let below = if is_resumed { &after[1..] } else { &[] };
                self.entry(folder, name, depth, is_resumed, below)?;
            }
            last = names.into_iter().next_back();
            match (&last, is_cut) {
                (Some(name), true) => floor = Bound::Excluded(name),
                (Some(_) | None, _) => return ControlFlow::Continue(Ok(())),
            }
        }
    }

    /// The smallest names of a folder that can still be on this page, and whether it has more.
    fn smallest(&self, folder: &OwnedFd, floor: Bound<&CString>) -> Result<(BTreeSet<CString>, bool), Errno> {
        // One that the page before ended with, and one that shows that there is another page.
        let most = self.entries_max - self.listing.entries.len() + 2;
        let (mut names, mut is_cut) = (BTreeSet::new(), false);
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_behind = match floor {
                Bound::Included(floor) => name >= floor.as_c_str(),
                Bound::Excluded(floor) => name > floor.as_c_str(),
                Bound::Unbounded => true,
            };
            if !is_behind || [c".", c".."].contains(&name) {
                continue;
            }
            if names.len() == most && names.last().is_some_and(|last: &CString| last.as_c_str() <= name) {
                is_cut = true;
                continue;
            }
            names.insert(name.to_owned());
            if names.len() > most {
                is_cut = true;
                names.pop_last();
            }
        }
        Ok((names, is_cut))
    }

    /// Puts one name on the page, unless the page before ended with it or below it, and then what is below it.
    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &CString,
        depth: u32,
        is_resumed: bool,
        below: &[CString],
    ) -> ControlFlow<()> {
        // One that cannot be looked at has gone.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return ControlFlow::Continue(());
        };
        self.path.push(name.clone());
        let done = self.named(folder, name, depth, is_resumed, below, &stat);
        self.path.pop();
        done
    }

    fn named(
        &mut self,
        folder: &OwnedFd,
        name: &CString,
        depth: u32,
        is_resumed: bool,
        below: &[CString],
        stat: &Stat,
    ) -> ControlFlow<()> {
        let metadata = facts(stat);
        if !is_resumed {
            self.add(metadata)?;
        }
        if depth == 1 || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return ControlFlow::Continue(());
        }
        let listed = match openat(folder, name, FOLDER, Mode::empty()) {
            Ok(opened) => self.folder(&opened, depth - 1, below)?,
            // Something else has its name now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error),
        };
        self.listing.unreadable += u32::from(listed.is_err());
        ControlFlow::Continue(())
    }

    fn add(&mut self, metadata: Metadata) -> ControlFlow<()> {
        let path: PathBuf =
            self.path.iter().map(|name| OsString::from_vec(name.as_bytes().to_vec())).collect();
        let bytes = path.as_os_str().len();
        let is_over = self.bytes + bytes > PAGE_BYTES_MAX && !self.listing.entries.is_empty();
        if self.listing.entries.len() == self.entries_max || is_over {
            self.is_full = true;
            return ControlFlow::Break(());
        }
        self.bytes += bytes;
        self.listing.entries.push(Entry { path, metadata });
        ControlFlow::Continue(())
    }
}

fn facts(stat: &Stat) -> Metadata {
    Metadata {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified_micros: micros(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        mode: stat.st_mode & 0o7777,
        inode: stat.st_ino,
    }
}
