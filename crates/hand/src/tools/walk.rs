//! Walks through a tree for `glob` and `grep`: bounded in entries and time, never through a link, and without `.git` and
//! `node_modules` unless they are named. A result says what was left out: a model takes "no matches" for the truth.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ignore::DirEntry;
use ignore::WalkBuilder;

use crate::limits::WALK_ENTRIES_MAX;
use crate::limits::WALK_TIME_MAX;

/// The data of repositories; no search means it, so no result mentions it.
const REPOSITORY: &str = ".git";
/// Installed packages, often most files of a tree.
const PACKAGES: &str = "node_modules";
/// File systems that are not files.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What bounds a walk.
pub(super) struct Bounds {
    deadline: Instant,
    left: usize,
    /// Why the walk stopped before its end.
    pub(super) stopped: Option<String>,
    has_skipped_packages: Arc<AtomicBool>,
}

impl Bounds {
    /// The usual ones, from now on.
    pub(super) fn new() -> Self {
        Self {
            deadline: Instant::now() + WALK_TIME_MAX,
            left: WALK_ENTRIES_MAX,
            stopped: None,
            has_skipped_packages: Arc::default(),
        }
    }

    /// What a result says of the walks, a line each.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let skipped = self
            .has_skipped_packages
            .load(Ordering::Relaxed)
            .then(|| format!("[folders named {PACKAGES} were not searched; give one as path to search it]"));
        skipped.into_iter().chain(self.stopped.clone())
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

/// A walk of `root`, as deep as `depth_max`. `named`: text that may name a folder that is skipped otherwise.
pub(super) fn builder(root: &Path, named: &str, depth_max: Option<usize>, bounds: &Bounds) -> WalkBuilder {
    let system: Vec<&Path> =
        SYSTEM.into_iter().filter(|folder| !root.starts_with(folder)).map(Path::new).collect();
    let (skips_repository, skips_packages) = (!named.contains(REPOSITORY), !named.contains(PACKAGES));
    let has_skipped_packages = Arc::clone(&bounds.has_skipped_packages);
    let mut builder = WalkBuilder::new(root);
    builder.max_depth(depth_max).follow_links(false).threads(1).filter_entry(move |entry: &DirEntry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        if !is_folder || entry.depth() == 0 {
            return true;
        }
        if skips_packages && entry.file_name() == PACKAGES {
            if depth_max.is_none_or(|depth_max| entry.depth() < depth_max) {
                has_skipped_packages.store(true, Ordering::Relaxed);
            }
            return false;
        }
        !(skips_repository && entry.file_name() == REPOSITORY || system.contains(&entry.path()))
    });
    builder
}
