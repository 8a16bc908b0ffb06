//! What is packed comes back as it was.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::lchown;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use proptest::prelude::*;
use tempfile::TempDir;

use super::pack;
use super::tree;
use super::unpack;

/// One of everything.
fn sample(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("a/b/empty")).unwrap();
    fs::write(at("a/file"), "content").unwrap();
    fs::write(at("a/zero"), "").unwrap();
    fs::write(at("a/block"), vec![7; 512]).unwrap();
    fs::write(at("a/large"), (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    fs::set_permissions(at("a/file"), Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(at("a/b"), Permissions::from_mode(0o3777)).unwrap();
    fs::set_permissions(at("a/zero"), Permissions::from_mode(0o0)).unwrap();
    chown(at("a/block"), Some(1000), Some(65_534)).unwrap();
    chown(at("a/large"), Some(3_000_000), Some(4_000_000_000)).unwrap();
    fs::hard_link(at("a/file"), at("a/b/same")).unwrap();
    symlink("../nowhere", at("a/link")).unwrap();
    symlink("x".repeat(300), at("long-link")).unwrap();
    lchown(at("a/link"), Some(5), Some(6)).unwrap();
    tree::pipe(&at("a/pipe"));
    tree::whiteout(&at("a/gone"));
    fs::create_dir(at("opaque")).unwrap();
    fs::write(at("opaque/new"), "new").unwrap();
    tree::set_attribute(&at("opaque"), "user.overlay.opaque", b"y");
    tree::set_attribute(&at("a/file"), "user.note", b"a=b\n\0\xff");
    tree::set_attribute(&at("a"), "user.of.folder", b"");
    let deep = at(&vec!["n".repeat(200); 4].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("new\nline é \u{1b}"), "deep").unwrap();
    fs::write(deep.join("long".repeat(60)), "name").unwrap();
    for (index, name) in ["a/file", "a/link", "a/pipe", "a/b", "a", "opaque", ""].into_iter().enumerate() {
        tree::set_time(&at(name), i64::try_from(index).unwrap() * 1_000_000_007 - 9, 123_456_789);
    }
    tree::set_time(&at("a/large"), -5, 1);
    tree::set_time(&at("a/block"), 12_345_678_901, 0);
    fs::set_permissions(root, Permissions::from_mode(0o2770)).unwrap();
}

#[test]
fn everything_comes_back_as_it_was() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    sample(from.path());
    let (archive, packed) = pack(from.path());
    let unpacked = unpack(to.path(), &archive);
    assert_eq!(tree::read(to.path()), tree::read(from.path()));
    assert_eq!((unpacked.entries, unpacked.bytes), (packed.entries, packed.bytes));
    assert_eq!((packed.skipped, unpacked.skipped, unpacked.unowned), (0, 0, 0));
    assert!(pack(to.path()).0 == archive, "the same tree gives the same archive");
}

#[test]
fn what_has_no_place_in_a_layer_is_left_out_and_counted() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let at = |name: &str| from.path().join(name);
    drop(UnixListener::bind(at("socket")).unwrap());
    tree::device(&at("device"), libc::S_IFCHR, libc::makedev(1, 3));
    fs::write(at(".wh.file"), "").unwrap();
    fs::create_dir(at(".wh..wh.folder")).unwrap();
    fs::write(at(".wh..wh.folder/inside"), "").unwrap();
    fs::write(at("kept"), "").unwrap();
    tree::set_attribute(&at("kept"), "trusted.overlay.redirect", b"/etc");
    tree::set_attribute(&at("kept"), "user.overlay.origin", b"x");
    tree::set_attribute(
        &at("kept"),
        "security.capability",
        &[0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let (archive, packed) = pack(from.path());
    assert_eq!((packed.entries, packed.skipped), (2, 4));
    unpack(to.path(), &archive);
    assert_eq!(tree::names(to.path()), ["kept"]);
    assert_eq!(tree::attributes(&to.path().join("kept")), []);
}

#[test]
fn a_file_with_holes_costs_what_it_holds() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = File::create(from.path().join("sparse")).unwrap();
    file.set_len(10 << 30).unwrap();
    for at in [0, 1 << 20, 5 << 30, (10 << 30) - 3] {
        file.write_all_at(b"abc", at).unwrap();
    }
    File::create(from.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
    let (archive, packed) = pack(from.path());
    assert!(archive.len() < 10_000 && packed.bytes < 100_000, "{} {packed:?}", archive.len());
    unpack(to.path(), &archive);
    let sparse = File::open(to.path().join("sparse")).unwrap();
    assert_eq!(sparse.metadata().unwrap().len(), 10 << 30);
    assert!(sparse.metadata().unwrap().blocks() < 100);
    for at in [0, 1 << 20, 5 << 30, (10 << 30) - 3] {
        let mut bytes = [0; 3];
        sparse.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(&bytes, b"abc");
    }
    assert_eq!(fs::metadata(to.path().join("hole")).unwrap().len(), 1 << 40);
    assert!(pack(to.path()).0 == archive);
}

#[test]
fn a_tree_of_any_depth_is_packed_as_far_as_it_can_be_read_back() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // Deeper than any path can be, and wider than few descriptors reach.
    tree::chain(from.path(), 3000);
    let (archive, packed) = pack(from.path());
    assert_eq!((packed.entries, packed.skipped), (2001, 1), "the folder at which paths become too long");
    unpack(to.path(), &archive);
    assert!(pack(to.path()).0 == archive);
    for folder in [from, to] {
        let path = folder.keep();
        assert!(Command::new("rm").arg("-rf").arg(path).status().unwrap().success());
    }
}

/// Runs `tar` in `folder` with `input`.
fn tar(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = tar.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = tar.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}

#[test]
fn other_programs_read_our_archives() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    sample(from.path());
    let sparse = File::create(from.path().join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"end", 700_000).unwrap();
    let (archive, _) = pack(from.path());
    tar(to.path(), &["-xp", "--zstd", "--xattrs", "--xattrs-include=user.*", "--numeric-owner"], &archive);
    for (path, expected) in tree::read(from.path()) {
        let path = to.path().join(&path);
        match expected.kind {
            "whiteout" => assert!(path.with_file_name(".wh.gone").exists()),
            "file" => assert_eq!(fs::read(path).unwrap(), expected.content),
            _ => assert!(path.symlink_metadata().is_ok(), "{}", path.display()),
        }
    }
    assert!(to.path().join("opaque/.wh..wh..opq").exists());
    assert_eq!(tree::attributes(&to.path().join("a/file"))[0].1, b"a=b\n\0\xff");
}

#[test]
fn archives_of_other_programs_are_read() {
    let from = TempDir::new().unwrap();
    sample(from.path());
    fs::remove_file(from.path().join("a/gone")).unwrap();
    let expected = tree::read(from.path());
    let sparse = TempDir::new().unwrap();
    File::create(sparse.path().join("s")).unwrap().set_len(1 << 30).unwrap();
    for format in ["--format=gnu", "--format=pax"] {
        for compression in ["--no-auto-compress", "--gzip", "--zstd"] {
            let to = TempDir::new().unwrap();
            let archive =
                tar(from.path(), &["-c", format, compression, "--xattrs", "--numeric-owner", "."], b"");
            unpack(to.path(), &archive);
            let mut found = tree::read(to.path());
            for (path, node) in &expected {
                let found = found.remove(path).unwrap();
                assert_eq!(
                    (found.kind, found.mode, found.owner),
                    (node.kind, node.mode, node.owner),
                    "{path:?}"
                );
                assert_eq!(
                    (found.content, found.first_name),
                    (node.content.clone(), node.first_name.clone())
                );
                if format == "--format=pax" {
                    assert_eq!(found.modified, node.modified, "{path:?}");
                }
            }
            assert_eq!(found.len(), 0);
        }
    }
    let to = TempDir::new().unwrap();
    unpack(to.path(), &tar(sparse.path(), &["-cS", "--format=pax", "."], b""));
    assert_eq!(fs::metadata(to.path().join("s")).unwrap().len(), 1 << 30);
}

#[derive(Clone, Debug)]
enum Made {
    Folder,
    File(Vec<u8>, bool),
    Link(String),
    Second(usize),
    Whiteout,
    Pipe,
    Opaque,
}

fn made() -> impl Strategy<Value = (Vec<String>, Made, u32, i64)> {
    let made = prop_oneof![
        3 => Just(Made::Folder),
        4 => (prop::collection::vec(any::<u8>(), 0..2000), any::<bool>()).prop_map(|(bytes, has_hole)| Made::File(bytes, has_hole)),
        1 => "[a-c/.]{1,150}".prop_map(Made::Link),
        1 => (0_usize..20).prop_map(Made::Second),
        1 => Just(Made::Whiteout),
        1 => Just(Made::Pipe),
        1 => Just(Made::Opaque),
    ];
    let name = prop_oneof![8 => "[a-c]{1,2}", 1 => "[^/\0]{1,60}", 1 => "[a-z]{120}"];
    (prop::collection::vec(name, 1..4), made, 0_u32..0o10000, any::<i32>().prop_map(i64::from))
}

/// Makes as much of it as goes.
fn make(root: &Path, nodes: &[(Vec<String>, Made, u32, i64)]) {
    let mut files = Vec::new();
    for (names, made, mode, _) in nodes {
        if names.iter().any(|name| matches!(name.as_str(), "." | "..") || name.starts_with(".wh.")) {
            continue;
        }
        let path = root.join(names.join("/"));
        let parents_are_folders = path
            .ancestors()
            .skip(1)
            .take_while(|above| *above != root)
            .all(|above| fs::symlink_metadata(above).map_or(true, |found| found.is_dir()));
        if !parents_are_folders || fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        if matches!(made, Made::Opaque) {
            tree::set_attribute(path.parent().unwrap(), "user.overlay.opaque", b"y");
        }
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match made {
            Made::Folder => fs::create_dir(&path).unwrap(),
            Made::File(bytes, has_hole) => {
                fs::write(&path, bytes).unwrap();
                if *has_hole {
                    let file = File::options().write(true).open(&path).unwrap();
                    file.set_len(200_000).unwrap();
                    file.write_all_at(bytes, 100_000).unwrap();
                }
                files.push(path.clone());
            }
            Made::Link(target) => symlink(target, &path).unwrap(),
            Made::Second(index) => match files.get(*index) {
                Some(first) => fs::hard_link(first, &path).unwrap(),
                None => continue,
            },
            Made::Whiteout => tree::whiteout(&path),
            Made::Pipe => tree::pipe(&path),
            Made::Opaque => continue,
        }
        if !matches!(made, Made::Link(_) | Made::Whiteout) {
            chown(&path, Some(mode * 7), Some(mode * 11)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
        }
    }
    for (names, _, mode, time) in nodes {
        let path = root.join(names.join("/"));
        if !names.iter().any(|name| name == "..")
            && path.symlink_metadata().is_ok_and(|found| !found.is_symlink())
        {
            tree::set_time(&path, *time, i64::from(*mode));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_tree_comes_back_as_it_was(nodes in prop::collection::vec(made(), 0..40)) {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        make(from.path(), &nodes);
        let (archive, packed) = pack(from.path());
        let unpacked = unpack(to.path(), &archive);
        prop_assert_eq!(tree::read(to.path()), tree::read(from.path()));
        prop_assert_eq!((packed.skipped, unpacked.skipped, unpacked.unowned), (0, 0, 0));
        prop_assert_eq!((packed.entries, packed.bytes), (unpacked.entries, unpacked.bytes));
        prop_assert!(pack(to.path()).0 == archive, "the same tree gives the same archive");
    }
}
