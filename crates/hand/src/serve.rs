//! The loop.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where things are in the sandbox.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where relative paths start, and each new shell.
    pub workspace: PathBuf,
    /// Home of the shells.
    pub home: PathBuf,
    /// Private folder for what does not fit in a result. Made when it is needed.
    pub scratch: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self { workspace: "/workspace".into(), home: "/root".into(), scratch: "/tmp/.journeyman".into() }
    }
}

/// Serves calls in the usual place until the spawner says quit or goes away.
pub fn run(control: OwnedFd) -> ! {
    run_at(control, Place::default())
}

/// As [`run`], elsewhere.
pub fn run_at(control: OwnedFd, place: Place) -> ! {
    drop((control, place));
    std::process::abort()
}
