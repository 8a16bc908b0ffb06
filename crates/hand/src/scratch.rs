//! The private folder of the hand in the sandbox's file system: named pipes of running commands, and what was too long
//! for a result. The agent can read it, and may delete it at any moment, so it is made again whenever it is needed.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::sys;

/// A full disk must not stop the command that would clean it up; this is memory.
const FALLBACK: &str = "/dev/shm/.journeyman";

/// A new file at `path`, in place of what was there, with its folder.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    replace(path)?;
    File::options().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// A new named pipe called `name` in `folder`, or else in memory: its path, and the end to read.
pub(crate) fn fifo(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let make = |path: PathBuf| {
        replace(&path)?;
        sys::make_fifo(&path)?;
        let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(&path)?;
        Ok((path, reader))
    };
    make(folder.join(name)).or_else(|first: io::Error| make(Path::new(FALLBACK).join(name)).map_err(|_| first))
}

fn replace(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
