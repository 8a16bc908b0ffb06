//! Trees to make and to compare.

#![expect(unsafe_code, reason = "makes devices and attributes, which the standard library cannot")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// Everything about a file that a layer keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: &'static str,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: (i64, i64),
    pub(super) content: Vec<u8>,
    /// Which of the names of this tree lead to the same file, by the first of them.
    pub(super) first_name: PathBuf,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The whole tree. What a layer does not keep of a node is left empty.
pub(super) fn read(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let kind = metadata.file_type();
        let mut node = Node {
            kind: "file",
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content: Vec::new(),
            first_name: name.clone(),
            attributes: Vec::new(),
        };
        if kind.is_dir() {
            node.kind = "folder";
            node.attributes = attributes(&path);
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            node.kind = "link";
            node.content = fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec();
        } else if kind.is_fifo() {
            node.kind = "pipe";
        } else if kind.is_char_device() {
            node = Node { kind: "whiteout", mode: 0, owner: (0, 0), modified: (0, 0), ..node };
            assert_eq!(metadata.rdev(), 0, "{}", path.display());
        } else {
            assert!(kind.is_file(), "{}", path.display());
            node.content = fs::read(&path).unwrap();
            node.attributes = attributes(&path);
            let identity = (metadata.dev(), metadata.ino());
            let names: &mut Vec<PathBuf> = first.entry(identity).or_default();
            names.push(name.clone());
        }
        nodes.insert(name, node);
    }
    for names in first.values() {
        let least = names.iter().min().unwrap();
        for name in names {
            nodes.get_mut(name).unwrap().first_name.clone_from(least);
        }
    }
    nodes
}

/// The names of the tree.
pub(super) fn names(root: &Path) -> Vec<String> {
    read(root).keys().skip(1).map(|path| path.to_string_lossy().into_owned()).collect()
}

pub(super) fn device(path: &Path, kind: libc::mode_t, device: libc::dev_t) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a NUL-terminated path and plain numbers.
    let result = unsafe { libc::mknod(path.as_ptr(), kind | 0o600, device) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

pub(super) fn whiteout(path: &Path) {
    device(path, libc::S_IFCHR, 0);
}

pub(super) fn pipe(path: &Path) {
    device(path, libc::S_IFIFO, 0);
}

pub(super) fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = CString::new(name).unwrap();
    // SAFETY: NUL-terminated strings, and a value with its length.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(result, 0, "{name:?}: {}", io::Error::last_os_error());
}

pub(super) fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0_u8; 65536];
    // SAFETY: a NUL-terminated path, and a buffer with its length.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap());
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let c_name = CString::new(name).unwrap();
            let mut value = vec![0_u8; 65536];
            // SAFETY: NUL-terminated strings, and a buffer with its length.
            let length = unsafe {
                libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len())
            };
            value.truncate(usize::try_from(length).unwrap());
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}

/// Sets when something was changed last, without following it.
pub(super) fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let time = libc::timespec { tv_sec: seconds, tv_nsec: nanos };
    // SAFETY: a NUL-terminated path and an array of two times.
    let result = unsafe {
        libc::utimensat(libc::AT_FDCWD, path.as_ptr(), [time, time].as_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Makes a chain of folders that is deeper than a path can tell.
pub(super) fn chain(root: &Path, depth: usize) {
    let mut folder = OwnedFd::from(fs::File::open(root).unwrap());
    for _ in 0..depth {
        // SAFETY: a NUL-terminated name and open descriptors; the new one is nobody else's.
        folder = unsafe {
            assert_eq!(libc::mkdirat(folder.as_raw_fd(), c"d".as_ptr(), 0o755), 0);
            OwnedFd::from_raw_fd(libc::openat(folder.as_raw_fd(), c"d".as_ptr(), libc::O_RDONLY))
        };
    }
}
