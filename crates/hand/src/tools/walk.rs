//! Walks through a tree for `glob` and `grep`: bounded in entries and time, never through a link, and without the
//! folders nobody means, unless they are named.

use std::path::Path;
use std::time::Instant;

use ignore::DirEntry;
use ignore::WalkBuilder;

use crate::limits::WALK_ENTRIES_MAX;
use crate::limits::WALK_TIME_MAX;

/// Folders of machines, not of people.
const SKIPPED: [&str; 2] = [".git", "node_modules"];
/// File systems that are not files.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What bounds a walk.
pub(super) struct Bounds {
    deadline: Instant,
    left: usize,
    /// Why the walk stopped before its end.
    pub(super) stopped: Option<String>,
}

impl Bounds {
    /// The usual ones, from now on.
    pub(super) fn new() -> Self {
        Self { deadline: Instant::now() + WALK_TIME_MAX, left: WALK_ENTRIES_MAX, stopped: None }
    }

    /// Whether the next entry may be looked at.
    pub(super) fn allow(&mut self) -> bool {
        if self.left == 0 {
            self.stopped = Some(format!("[search stopped after {WALK_ENTRIES_MAX} entries]"));
            return false;
        }
        self.left -= 1;
        // Time is looked at now and then only; it is cheap, but a tree has many entries.
        if self.left.is_multiple_of(64) && Instant::now() > self.deadline {
            self.stopped = Some(format!("[search stopped after {}s]", WALK_TIME_MAX.as_secs()));
            return false;
        }
        true
    }
}

/// A walk of `root`. `named`: text that may name a folder that is skipped otherwise.
pub(super) fn builder(root: &Path, named: &str) -> WalkBuilder {
    let root_text = root.to_string_lossy().into_owned();
    let skipped: Vec<&str> = SKIPPED.into_iter().filter(|name| !named.contains(name)).collect();
    let system: Vec<&Path> =
        SYSTEM.into_iter().filter(|folder| !root_text.starts_with(folder)).map(Path::new).collect();
    let mut builder = WalkBuilder::new(root);
    builder.follow_links(false).threads(1).filter_entry(move |entry: &DirEntry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let is_skipped = |name: &&str| entry.file_name() == *name;
        !is_folder
            || entry.depth() == 0
            || !(skipped.iter().any(is_skipped) || system.contains(&entry.path()))
    });
    builder
}
