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

/// Memory: a busy disk does not delay a command, and a full one does not stop the command that would clean it up.
const MEMORY: &str = "/dev/shm/.journeyman";

/// A new file at `path`, in place of what was there, with its folder.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    replace(path)?;
    File::options().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// A new named pipe called `name`: its path, and the end to read.
pub(crate) fn fifo(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    in_memory(folder, name, |path| {
        sys::make_fifo(path)?;
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
    })
}

/// Where a small file called `name` can be made. There is none yet.
pub(crate) fn small_file(folder: &Path, name: &str) -> io::Result<PathBuf> {
    in_memory(folder, name, |_| Ok(())).map(|(path, ())| path)
}

/// Makes something called `name` in memory, or else in `folder`.
fn in_memory<T>(
    folder: &Path,
    name: &str,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    // Outside of a sandbox, several hands share the memory.
    let name = format!("{}-{name}", sys::own_pid());
    let make_in = |folder: &Path| {
        let path = folder.join(&name);
        replace(&path)?;
        let made = make(&path)?;
        Ok((path, made))
    };
    make_in(Path::new(MEMORY)).or_else(|_: io::Error| make_in(folder))
}

/// Removes what this process left in memory. In a sandbox the memory goes with it anyway.
pub(crate) fn clear() {
    let own = format!("{}-", sys::own_pid());
    for entry in fs::read_dir(MEMORY).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            drop(fs::remove_file(entry.path()));
        }
    }
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
