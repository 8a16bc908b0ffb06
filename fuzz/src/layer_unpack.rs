//! Layers, unpacked into a folder and packed again.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hand::layer::Limits;
use hand::layer::Unpacked;
use hand::layer::pack;
use hand::layer::unpack;
use tempfile::TempDir;

use crate::tar;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, entries_max: 64, path_bytes_max: 300 };
/// Folders that one path can need.
const DEPTH_MAX: usize = LIMITS.path_bytes_max / 2 + 1;
/// Files of which the contents are compared; larger ones have holes.
const READ_BYTES_MAX: u64 = 1 << 20;
const CANARY: &str = "what stands beside";
/// In memory, where there is such a place.
const FAST: &str = "/dev/shm";

/// Whatever an archive says: nothing outside of the folder changes, no device comes to be, and bounds hold. What was taken
/// in is packed and unpacked again without a difference.
pub fn check(bytes: &[u8]) {
    let base = base();
    let beside = base.path().join("beside");
    let absolute = beside.to_str().expect("made of plain names").to_owned();
    let names: [&[u8]; 16] = [
        b"a",
        b"b",
        b"c",
        b"d",
        b"..",
        b".",
        b"",
        b"beside",
        b"canary",
        b"../beside",
        absolute.as_bytes(),
        b".wh.a",
        b".wh.b",
        b".wh..wh..opq",
        b".wh..wh.plnk",
        b"/proc/self/root",
    ];
    let archive = tar::archive(bytes, &names);
    std::fs::create_dir(&beside).expect("make a folder");
    std::fs::write(beside.join("canary"), CANARY).expect("write a file");
    let before = tree(&beside);
    let root = folder(&base, "root");
    let taken = unpack(&open(&root), archive.as_slice(), &LIMITS);
    assert_eq!(tree(&beside), before, "something outside was changed");
    let mut beside_it: Vec<_> = names_of(base.path());
    beside_it.sort();
    assert_eq!(beside_it, ["beside", "root"], "something outside was made");
    let unpacked = tree(&root);
    assert!(unpacked.len() <= usize::try_from(LIMITS.entries_max).expect("small") * DEPTH_MAX);
    assert!(unpacked.iter().map(|file| file.stored_bytes).sum::<u64>() <= 2 * LIMITS.bytes_max);
    if let Ok(Unpacked { entries, bytes, .. }) = taken {
        assert!(entries <= LIMITS.entries_max && bytes <= LIMITS.bytes_max);
        round(&base, &root, &unpacked);
    }
}

fn round(base: &TempDir, root: &Path, unpacked: &[Found]) {
    let mut packed = Vec::new();
    let done = pack(&open(root), &mut packed).expect("what was unpacked can be packed");
    if done.skipped > 0 {
        return;
    }
    let again = folder(base, "again");
    let limits = Limits { bytes_max: 1 << 30, entries_max: 1 << 20, path_bytes_max: 1 << 13 };
    unpack(&open(&again), packed.as_slice(), &limits).expect("what was packed can be unpacked");
    let (first, second) = (plain(unpacked), plain(&tree(&again)));
    assert_eq!(first, second, "the tree is another one");
    let mut packed_again = Vec::new();
    pack(&open(&again), &mut packed_again).expect("what was packed once can be packed again");
    // The attributes are in there too.
    assert!(decompressed(&packed) == decompressed(&packed_again), "the archive is another one");
}

/// A folder with nothing in it.
fn base() -> TempDir {
    if Path::new(FAST).is_dir() { TempDir::new_in(FAST) } else { TempDir::new() }.expect("make a folder")
}

fn folder(base: &TempDir, name: &str) -> std::path::PathBuf {
    let path = base.path().join(name);
    std::fs::create_dir(&path).expect("make a folder");
    path
}

fn open(path: &Path) -> File {
    File::open(path).expect("open a folder")
}

fn decompressed(packed: &[u8]) -> Vec<u8> {
    zstd::decode_all(packed).expect("it was compressed here")
}

fn names_of(folder: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(folder)
        .expect("list a folder")
        .map(|entry| entry.expect("list a folder").file_name())
        .collect()
}

/// Something in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    path: std::path::PathBuf,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    bytes: u64,
    content: Vec<u8>,
    link: Option<std::path::PathBuf>,
    /// The first of the names of the same file.
    first: std::path::PathBuf,
    stored_bytes: u64,
    is_whiteout: bool,
}

/// The same, without what the disk is free to choose. Of the mark of a deleted name only its place counts.
fn plain(tree: &[Found]) -> Vec<Found> {
    let plain = |found: &Found| {
        let modified = if found.is_whiteout { (0, 0) } else { found.modified };
        Found { stored_bytes: 0, modified, ..found.clone() }
    };
    tree.iter().map(plain).collect()
}

fn tree(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut firsts = HashMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).expect("look at a file");
        let kind = metadata.file_type();
        assert!(!kind.is_block_device() && !kind.is_socket(), "a device at {}", path.display());
        assert!(!kind.is_char_device() || metadata.rdev() == 0, "a device at {}", path.display());
        let own = path.strip_prefix(root).expect("it is below the root").to_path_buf();
        if kind.is_dir() {
            let mut below: Vec<_> = names_of(&path).into_iter().map(|name| path.join(name)).collect();
            below.sort();
            open.extend(below.into_iter().rev());
        }
        let first = firsts.entry(metadata.ino()).or_insert_with(|| own.clone()).clone();
        let mut content = Vec::new();
        if kind.is_file() && metadata.len() <= READ_BYTES_MAX {
            File::open(&path).and_then(|mut file| file.read_to_end(&mut content)).expect("read a file");
        }
        found.push(Found {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            bytes: if kind.is_dir() || kind.is_char_device() { 0 } else { metadata.len() },
            content,
            link: kind.is_symlink().then(|| std::fs::read_link(&path).expect("read a link")),
            first,
            stored_bytes: metadata.blocks() * 512,
            is_whiteout: kind.is_char_device(),
            path: own,
        });
    }
    found
}
