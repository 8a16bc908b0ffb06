//! What bounds the files of sandboxes, and how much room there is for them.

use std::path::Path;

use super::mounts;
use crate::Primitive;
use crate::spawner::volume;

const GIB: u64 = 1 << 30;
/// What one sandbox may take by default.
const ROOM_BYTES: u64 = 10 * GIB;

/// The bound that the spawner of this data folder takes unless another one is asked for.
pub(super) fn bound(data_dir: &Path, is_root: bool) -> Primitive {
    let (kind, options) = mounts::file_system(data_dir);
    let volume::Foreseen { is_enforced, detail, remedy } = volume::foresee(&kind, &options, is_root);
    Primitive {
        name: "disk quota",
        present: is_enforced,
        detail,
        cost: "a sandbox that takes too much is stopped a moment later, not at the very byte",
        remedy,
    }
}

/// Whether the file system of the data folder has room for one sandbox.
pub(super) fn room(data_dir: &Path) -> Primitive {
    let free = volume::bytes_free(data_dir);
    Primitive {
        name: "room for files",
        present: free.as_ref().is_ok_and(|free| *free >= ROOM_BYTES),
        detail: free.map_or_else(|error| error.to_string(), |free| format!("{} GiB are free", free / GIB)),
        cost: "the file system is full before a sandbox reaches its bound, and its sandboxes are stopped then",
        remedy: "make room on the file system of the data folder, or put that on another one".to_owned(),
    }
}
