//! Layers: trees into archives and back, and archives that mean harm.

mod archives;
mod hostile;
mod tree;
mod trees;
mod worker;

use std::fs::File;
use std::path::Path;

use hand::layer::Limits;
use hand::layer::Packed;
use hand::layer::Unpacked;

/// Bounds that no honest archive here meets.
const WIDE: Limits = Limits { bytes_max: 1 << 30, entries_max: 100_000, path_bytes_max: 4096 };

fn pack(folder: &Path) -> (Vec<u8>, Packed) {
    let mut archive = Vec::new();
    let packed = hand::layer::pack(&File::open(folder).unwrap(), &mut archive).unwrap();
    (archive, packed)
}

fn unpack(folder: &Path, archive: &[u8]) -> Unpacked {
    try_unpack(folder, archive, &WIDE).unwrap()
}

/// Unpacks; an error with its causes as text.
fn try_unpack(folder: &Path, archive: &[u8], limits: &Limits) -> Result<Unpacked, String> {
    hand::layer::unpack(&File::open(folder).unwrap(), archive, limits).map_err(|error| format!("{error:#}"))
}
