//! Files that the server reads, writes and lists.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use hand::protocol::CallState;
use hand::protocol::operation::Answer;
use hand::protocol::operation::FailureKind;
use hand::protocol::operation::FileKind;
use hand::protocol::operation::ListFiles;
use hand::protocol::operation::Listing;
use hand::protocol::operation::Operation;
use hand::protocol::operation::Part;
use hand::protocol::operation::READ_BYTES_MAX;
use hand::protocol::operation::ReadFile;
use hand::protocol::operation::WRITE_BYTES_MAX;
use hand::protocol::operation::WriteFile;

use crate::hand::Client;
use crate::hand::Hand;

fn read(
    client: &mut Client,
    path: impl Into<PathBuf>,
    offset: u64,
    bytes_max: u32,
) -> Result<Part, FailureKind> {
    match client.perform(Operation::ReadFile(ReadFile { path: path.into(), offset, bytes_max })) {
        Answer::Part(part) => Ok(part),
        Answer::Failed(failure) => Err(failure.kind),
        other => panic!("{other:?}"),
    }
}

fn write(client: &mut Client, path: impl Into<PathBuf>, content: &[u8]) -> Result<(), FailureKind> {
    write_as(
        client,
        WriteFile { path: path.into(), content: content.into(), mode: 0o640, makes_parents: false },
    )
}

fn write_as(client: &mut Client, write: WriteFile) -> Result<(), FailureKind> {
    match client.perform(Operation::WriteFile(write)) {
        Answer::Written(_) => Ok(()),
        Answer::Failed(failure) => Err(failure.kind),
        other => panic!("{other:?}"),
    }
}

fn list(client: &mut Client, list: ListFiles) -> Result<Listing, FailureKind> {
    match client.perform(Operation::ListFiles(list)) {
        Answer::Listing(listing) => Ok(listing),
        Answer::Failed(failure) => Err(failure.kind),
        other => panic!("{other:?}"),
    }
}

/// Every path below `path`, page by page.
fn all(client: &mut Client, path: &str, depth: u32, entries_max: u32) -> Vec<PathBuf> {
    let (mut paths, mut after) = (Vec::new(), None);
    loop {
        let page = ListFiles { path: path.into(), depth, entries_max, after };
        let Listing { entries, next, unreadable } = list(client, page).unwrap();
        assert!(entries.len() <= entries_max as usize && unreadable == 0);
        paths.extend(entries.into_iter().map(|entry| entry.path));
        after = next;
        if after.is_none() {
            return paths;
        }
    }
}

#[test]
fn a_file_is_read_part_by_part() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let content: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(hand.workspace().join("file"), &content).unwrap();
    let (mut whole, mut inode) = (Vec::new(), None);
    loop {
        let part = read(&mut client, "file", whole.len() as u64, 7_001).unwrap();
        assert_eq!((part.metadata.kind, part.metadata.bytes), (FileKind::File, 40_000));
        assert_eq!(*inode.get_or_insert(part.metadata.inode), part.metadata.inode);
        whole.extend(part.bytes);
        if part.is_last {
            break;
        }
    }
    assert_eq!(whole, content);
    let end = read(&mut client, "file", 40_000, 10).unwrap();
    assert!(end.is_last && end.bytes.is_empty());
    assert_eq!(read(&mut client, "file", u64::MAX, 10), Err(FailureKind::Invalid));
    assert_eq!(read(&mut client, "file", 0, 0).unwrap().metadata.bytes, 40_000);
    let version = read(&mut client, "/proc/version", 0, 1_000).unwrap();
    assert!(version.is_last && version.bytes.starts_with(b"Linux"));
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client
        .bash("mkfifo pipe; ln -s loop loop; ln -s pipe link; mkdir folder; truncate -s 1T sparse; : >empty");
    for path in ["pipe", "link", "folder", "/dev/zero", "/dev/full"] {
        assert_eq!(read(&mut client, path, 0, 10), Err(FailureKind::WrongKind), "{path}");
    }
    assert_eq!(read(&mut client, "loop", 0, 10), Err(FailureKind::Other));
    assert_eq!(read(&mut client, "none", 0, 10), Err(FailureKind::NotFound));
    assert_eq!(read(&mut client, "empty/x", 0, 10), Err(FailureKind::WrongKind));
    for path in ["", "a\0b"] {
        assert_eq!(read(&mut client, path, 0, 10), Err(FailureKind::Invalid));
    }
    assert_eq!(read(&mut client, "x".repeat(5_000), 0, 10), Err(FailureKind::Invalid));
    assert_eq!(read(&mut client, "x".repeat(300), 0, 10), Err(FailureKind::Invalid));
    assert_eq!(read(&mut client, "sparse", 0, READ_BYTES_MAX + 1), Err(FailureKind::Invalid));
    let part = read(&mut client, "sparse", 1 << 39, READ_BYTES_MAX).unwrap();
    assert!(!part.is_last && part.bytes.iter().all(|byte| *byte == 0));
    assert_eq!(part.bytes.len(), READ_BYTES_MAX as usize);
}

#[test]
fn a_file_is_replaced_whole_with_its_mode() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let at = |name: &str| hand.workspace().join(name);
    fs::write(at("other"), "other").unwrap();
    symlink("other", at("file")).unwrap();
    write(&mut client, "file", b"new\0\xff").unwrap();
    assert_eq!(fs::read(at("file")).unwrap(), b"new\0\xff");
    assert!(fs::symlink_metadata(at("file")).unwrap().is_file(), "the link itself is replaced");
    assert_eq!(fs::read(at("other")).unwrap(), b"other");
    assert_eq!(fs::metadata(at("file")).unwrap().permissions().mode() & 0o7777, 0o640);
    let deep = WriteFile { path: "a/b/c".into(), content: b"x".to_vec(), mode: 0o755, makes_parents: true };
    assert_eq!(write(&mut client, "a/b/c", b"x"), Err(FailureKind::NotFound));
    write_as(&mut client, deep.clone()).unwrap();
    assert_eq!(fs::metadata(at("a/b/c")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(write_as(&mut client, WriteFile { mode: 0o4755, ..deep }), Err(FailureKind::Invalid));
    for path in ["a", "a/b/", "a/.", "a/..", "/", "."] {
        assert_eq!(write(&mut client, path, b"x"), Err(FailureKind::WrongKind), "{path}");
    }
    assert_eq!(write(&mut client, "file/x", b"x"), Err(FailureKind::WrongKind));
    let large = vec![7; WRITE_BYTES_MAX + 1];
    assert_eq!(write(&mut client, "large", &large), Err(FailureKind::Invalid));
    write(&mut client, "large", &large[1..]).unwrap();
    assert_eq!(fs::metadata(at("large")).unwrap().len(), WRITE_BYTES_MAX as u64);
    write(&mut client, "n".repeat(255), b"x").unwrap();
    let left: Vec<_> =
        fs::read_dir(hand.workspace()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_file_is_written_once_per_id() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let file = hand.workspace().join("file");
    let write = |content: &[u8]| {
        let (path, content) = ("file".into(), content.to_vec());
        Operation::WriteFile(WriteFile { path, content, mode: 0o644, makes_parents: false })
    };
    client.operate("write", write(b"one"));
    let first = client.answer("write").0;
    client.operate("write", write(b"two"));
    assert_eq!(client.answer("write").0, first);
    assert_eq!(fs::read(&file).unwrap(), b"one");
    // A read is not kept.
    client.operate("read", Operation::ReadFile(ReadFile { path: "file".into(), offset: 0, bytes_max: 9 }));
    assert!(matches!(client.answer("read").0, Answer::Part(_)));
    assert_eq!(client.recall("read"), CallState::Unknown);
}

#[test]
fn a_listing_is_ordered_and_the_same_whatever_its_pages() {
    let hand = Hand::start();
    let mut client = hand.connect();
    for folder in ["b", "b/c", "b-", "d/e/f"] {
        fs::create_dir_all(hand.workspace().join(folder)).unwrap();
    }
    for file in ["a", "b/x", "b/c/y", "b-/z", "B", "d/e/f/g"] {
        fs::write(hand.workspace().join(file), file).unwrap();
    }
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::write(hand.workspace().join(odd), "").unwrap();
    let mut expected: Vec<PathBuf> =
        ["B", "a", "b", "b/c", "b/c/y", "b/x", "b-", "b-/z", "d", "d/e", "d/e/f", "d/e/f/g"]
            .map(PathBuf::from)
            .into();
    expected.push(odd.to_owned());
    for entries_max in [1, 2, 3, 5, 13, 100] {
        assert_eq!(all(&mut client, ".", 64, entries_max), expected, "{entries_max}");
    }
    let shallow: Vec<_> = expected.iter().filter(|path| path.components().count() <= 2).cloned().collect();
    assert_eq!(all(&mut client, ".", 2, 1), shallow);
    // A page goes on behind what the one before ended with, though it has gone.
    fs::remove_dir_all(hand.workspace().join("b")).unwrap();
    let rest = ListFiles { path: ".".into(), depth: 64, entries_max: 1, after: Some("b/c".into()) };
    assert_eq!(list(&mut client, rest).unwrap().entries[0].path, Path::new("b-"));
}

#[test]
fn a_listing_shows_links_and_pipes_and_goes_through_none() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash(
        "mkdir d; ln -s / d/root; ln -s loop d/loop; mkfifo d/pipe; printf abc >d/file; chmod 604 d/file",
    );
    let whole = |path: &str| ListFiles { path: path.into(), depth: 64, entries_max: 100, after: None };
    let Listing { entries, next, .. } = list(&mut client, whole("d")).unwrap();
    let facts: Vec<_> =
        entries.iter().map(|entry| (entry.path.to_str().unwrap(), entry.metadata.kind)).collect();
    let expected = [
        ("file", FileKind::File),
        ("loop", FileKind::Link),
        ("pipe", FileKind::Special),
        ("root", FileKind::Link),
    ];
    assert_eq!((facts.as_slice(), next), (expected.as_slice(), None));
    assert_eq!((entries[0].metadata.bytes, entries[0].metadata.mode), (3, 0o604));
    for path in ["d/root", "d/root/", "d/root/.", "d/file", "d/pipe"] {
        assert_eq!(list(&mut client, whole(path)), Err(FailureKind::WrongKind), "{path}");
    }
    assert_eq!(list(&mut client, whole("none")), Err(FailureKind::NotFound));
    for (depth, entries_max, after) in [
        (0, 1, None),
        (65, 1, None),
        (1, 0, None),
        (1, 10_001, None),
        (1, 1, Some("/")),
        (1, 1, Some("a/../b")),
    ] {
        let wrong = ListFiles { path: "d".into(), depth, entries_max, after: after.map(PathBuf::from) };
        assert_eq!(list(&mut client, wrong), Err(FailureKind::Invalid), "{depth} {entries_max}");
    }
}

#[test]
fn a_deep_and_a_wide_folder_are_listed_within_bounds() {
    let hand = Hand::start();
    let mut client = hand.connect();
    // Deeper than a path can be long.
    client.bash(
        "mkdir deep wide; d=$(printf 'd%.0s' {1..200}); (cd deep; for i in {1..80}; do mkdir $d; cd $d; done)",
    );
    for number in 0..3_000 {
        fs::write(hand.workspace().join(format!("wide/{number}")), "").unwrap();
    }
    let deep = all(&mut client, "deep", 64, 7);
    assert_eq!(deep.len(), 64);
    assert!(deep[63].as_os_str().len() > 12_000);
    let mut names: Vec<PathBuf> = (0..3_000).map(|number| number.to_string().into()).collect();
    names.sort();
    assert_eq!(all(&mut client, "wide", 1, 999), names);
}

#[test]
fn a_tree_that_changes_is_listed_to_its_end() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkdir t; while :; do mkdir -p t/a/b/c; ln -sfn / t/l; rm -rf t/a; mkfifo t/a; rm -f t/a; done & disown");
    fs::write(hand.workspace().join("t/z"), "").unwrap();
    for _ in 0..200 {
        let paths = all(&mut client, "t", 64, 2);
        assert_eq!(paths.last().unwrap(), Path::new("z"));
        assert!(paths.len() <= 8, "{paths:?}");
    }
}
