//! Blobs in a folder: opened, and rid of what writers that died have left.

use std::path::Path;
use std::time::Duration;

use object_store::local::LocalFileSystem;

use crate::limits;

/// Opens a folder, and makes it when it is not there.
pub(super) async fn open(folder: &Path) -> object_store::Result<LocalFileSystem> {
    let made = tokio::fs::create_dir_all(folder).await;
    made.map_err(generic)?;
    let store = LocalFileSystem::new_with_prefix(folder)?;
    Ok(store.with_fsync(true).with_automatic_cleanup(true))
}

/// Removes what is unfinished and older than `age`. Answers how many there were.
pub(super) async fn tidy(folder: &Path, age: Duration) -> object_store::Result<usize> {
    let folder = folder.to_path_buf();
    let removed = tokio::task::spawn_blocking(move || {
        let mut removed = 0;
        remove_unfinished(&folder, age, 0, &mut removed).map(|()| removed)
    });
    let removed = removed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    removed.map_err(generic)
}

/// Unfinished blobs of a folder have a number sign and a number behind their names.
fn remove_unfinished(folder: &Path, age: Duration, depth: usize, removed: &mut usize) -> std::io::Result<()> {
    if depth > limits::BLOB_KEY_PARTS_MAX {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path(), age, depth + 1, removed)?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_unfinished = name.rsplit_once('#').is_some_and(|(_, number)| is_number(number));
        // Files that vanish meanwhile were finished.
        let is_old = || {
            let changed = entry.metadata().and_then(|found| found.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed >= age))
        };
        if is_unfinished && is_old() {
            std::fs::remove_file(entry.path())?;
            *removed += 1;
        }
    }
    Ok(())
}

fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "folder", source: Box::new(source) }
}
