//! Archives that mean harm, or are none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use hand::layer::Limits;
use proptest::prelude::*;
use tempfile::TempDir;

use super::WIDE;
use super::archives::Archive;
use super::archives::header;
use super::tree;
use super::try_unpack;
use super::unpack;

/// A folder to unpack into, beside a file that nothing may change.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn outside(&self) -> String {
        self.folder.path().join("outside").to_str().unwrap().to_owned()
    }

    fn refuses(&self, archive: &[u8]) -> String {
        let refused = try_unpack(&self.root(), archive, &WIDE).unwrap_err();
        self.assert_intact();
        refused
    }

    fn assert_intact(&self) {
        assert_eq!(
            tree::names(self.folder.path()).iter().filter(|name| !name.starts_with("root")).count(),
            2
        );
        let secret = self.folder.path().join("outside/secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["/etc/passwd", "../outside/new", "a/../../outside/new", "..", "a/..", "/"] {
        let ground = Ground::new();
        for archive in [
            Archive::default().file(name, "x").end(),
            Archive::default().folder(name).end(),
            Archive::default().link(name, "x").end(),
            Archive::default().extended(&[("path", name)]).file("innocent", "x").end(),
            Archive::default().entry(b'L', "long", "", name.as_bytes()).file("innocent", "x").end(),
        ] {
            let refused = ground.refuses(&archive);
            assert!(refused.starts_with(&format!("unpack {name}: its name ")), "{refused}");
        }
        let refused = ground.refuses(&Archive::default().hard_link("new", name).end());
        assert!(refused.contains("its name "), "{refused}");
        assert_eq!(tree::names(&ground.root()), [""; 0]);
    }
}

#[test]
fn links_lead_to_places_inside_only() {
    let ground = Ground::new();
    let outside = ground.outside();
    for target in [outside.as_str(), "../outside", "/../../outside", "sub/../../outside"] {
        let archive =
            Archive::default().folder("sub").link("out", target).file("out/secret", "changed").end();
        drop(try_unpack(&ground.root(), &archive, &WIDE));
        ground.assert_intact();
    }
    let archive = Archive::default()
        .folder("usr")
        .folder("usr/lib")
        .link("lib", "usr/lib")
        .link("abs", "/usr")
        .file("lib/one", "1")
        .file("abs/two", "2")
        .hard_link("abs/three", "lib/one")
        .end();
    let ground = Ground::new();
    unpack(&ground.root(), &archive);
    let inside = |name: &str| fs::read_to_string(ground.root().join(name)).unwrap();
    assert_eq!(
        (inside("usr/lib/one"), inside("usr/two"), inside("usr/three")),
        ("1".into(), "2".into(), "1".into())
    );
    ground.assert_intact();
}

#[test]
fn the_last_part_of_a_name_is_never_followed() {
    let ground = Ground::new();
    let secret = format!("{}/secret", ground.outside());
    let archive = Archive::default()
        .link("file", &secret)
        .file("file", "mine")
        .link("folder", &ground.outside())
        .folder("folder")
        .file("folder/secret", "mine")
        .link("pipe", &secret)
        .entry(b'6', "pipe", "", b"")
        .end();
    unpack(&ground.root(), &archive);
    ground.assert_intact();
    assert_eq!(fs::read_to_string(ground.root().join("file")).unwrap(), "mine");
    assert!(fs::symlink_metadata(ground.root().join("folder")).unwrap().is_dir());
}

#[test]
fn a_folder_that_becomes_a_link_is_looked_up_again() {
    let ground = Ground::new();
    let archive = Archive::default()
        .folder("a")
        .folder("b")
        .file("a/x", "1")
        .link("c", "b")
        .file("c/y", "1")
        .link("c", &ground.outside())
        .file("c/z", "1")
        .end();
    let refused = ground.refuses(&archive);
    assert!(
        refused.starts_with("open the folder c: ") || refused.starts_with("make the folder c: "),
        "{refused}"
    );
    let refused = ground.refuses(&Archive::default().folder("d").file("d/x", "").link("d", "b").end());
    assert!(refused.starts_with("replace d: "), "a folder that is not empty stays: {refused}");
}

#[test]
fn hard_links_lead_to_files_inside_only() {
    let ground = Ground::new();
    let secret = format!("{}/secret", ground.outside());
    let archive = Archive::default().link("out", &ground.outside()).hard_link("mine", "out/secret").end();
    assert!(ground.refuses(&archive).starts_with("find the file of the link mine: "));
    for (made, archive) in [
        ("link", Archive::default().link("made", &secret)),
        ("pipe", Archive::default().entry(b'6', "made", "", b"")),
        ("folder", Archive::default().folder("made")),
        ("whiteout", Archive::default().file(".wh.made", "")),
    ] {
        let ground = Ground::new();
        let refused = ground.refuses(&archive.hard_link("mine", "made").end());
        assert_eq!(refused, "unpack mine: it is a link to something that is no file", "{made}");
    }
    assert!(ground.refuses(&Archive::default().hard_link("mine", "./").end()).contains("a link to a folder"));
    assert!(ground.refuses(&Archive::default().hard_link("mine", "missing").end()).contains("No such file"));
}

#[test]
fn devices_are_left_out() {
    let ground = Ground::new();
    let mut disk = header(b'4', "disk", "", 0, 0o666);
    disk[329..336].copy_from_slice(b"0000010");
    let sum: u32 = disk
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    disk[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let archive = Archive::default().entry(b'3', "null", "", b"").raw(&disk).file("file", "x").end();
    let unpacked = unpack(&ground.root(), &archive);
    assert_eq!((unpacked.entries, unpacked.skipped), (3, 2));
    assert_eq!(tree::names(&ground.root()), ["file"]);
}

#[test]
fn attributes_of_the_machine_and_the_overlay_are_not_set() {
    let ground = Ground::new();
    let mut archive = Archive::default();
    for path in ["folder/", "file"] {
        let lines: Vec<(&str, &str)> = vec![
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ("SCHILY.xattr.user.overlay.redirect", "/etc"),
            ("SCHILY.xattr.user.overlay.metacopy", ""),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.security.capability", "\u{1}"),
            ("SCHILY.xattr.system.posix_acl_access", "x"),
            ("SCHILY.xattr.user.note", "kept"),
        ];
        archive = archive.extended(&lines).file(path, "");
    }
    unpack(&ground.root(), &archive.end());
    for name in ["folder", "file"] {
        let kept = vec![(b"user.note".to_vec(), b"kept".to_vec())];
        assert_eq!(tree::attributes(&ground.root().join(name)), kept, "{name}");
    }
}

#[test]
fn bits_stay_with_an_owner_that_exists() {
    let ground = Ground::new();
    let archive = Archive::default()
        .raw(&header(b'0', "setuid", "", 0, 0o6755))
        .extended(&[("uid", "5000000000")])
        .raw(&header(b'0', "stranger", "", 0, 0o6755))
        .end();
    let unpacked = unpack(&ground.root(), &archive);
    let mode = |name: &str| fs::metadata(ground.root().join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("setuid"), 0o6755);
    // Root may give a file to anybody; in a sandbox's range this owner does not exist.
    assert!(matches!((unpacked.unowned, mode("stranger")), (0, 0o6755) | (1, 0o755)));
}

#[test]
fn deleted_names_become_marks_of_the_overlay() {
    let ground = Ground::new();
    let archive = Archive::default()
        .file("a/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        .file(".wh.again", "")
        .folder("again")
        .file("again/new", "")
        .folder("later")
        .file(".wh.later", "")
        .file("stays", "s")
        .file(".wh.stays", "")
        .file(".wh.back", "")
        .file("back", "b")
        .file(".wh..wh.aufs", "")
        .file(".wh..wh.plnk/x", "")
        .end();
    let unpacked = unpack(&ground.root(), &archive);
    assert_eq!(unpacked.skipped, 2);
    let found = tree::read(&ground.root());
    let kind = |name: &str| found[Path::new(name)].kind;
    assert_eq!(tree::names(&ground.root()), ["a", "a/gone", "again", "again/new", "back", "later", "stays"]);
    assert_eq!((kind("a/gone"), kind("back"), kind("stays")), ("whiteout", "file", "file"));
    for name in ["a", "again", "later"] {
        assert_eq!(
            found[Path::new(name)].attributes,
            [(b"user.overlay.opaque".to_vec(), b"y".to_vec())],
            "{name}"
        );
    }
    for name in [".wh.", "a/.wh..", "a/.wh..."] {
        let refused = Ground::new().refuses(&Archive::default().file(name, "").end());
        assert_eq!(refused, format!("unpack {name}: it deletes no name"));
    }
}

#[test]
fn bombs_end_early() {
    let zeros = vec![0; 1 << 20];
    let mut bombs = Vec::new();
    let mut plain = header(b'0', "zeros", "", 10 << 30, 0o644);
    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for writer in [&mut packed as &mut dyn std::io::Write, &mut gzip] {
        writer.write_all(&plain).unwrap();
        for _ in 0..256 {
            writer.write_all(&zeros).unwrap();
        }
    }
    plain.extend_from_slice(&zeros);
    bombs.push(plain);
    bombs.push(packed.finish().unwrap());
    bombs.push(gzip.finish().unwrap());
    // The same without a size that gives it away: zeros after the end.
    let mut tail = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..256 {
        std::io::Write::write_all(&mut tail, &zeros).unwrap();
    }
    bombs.push(tail.finish().unwrap());
    let limits = Limits { bytes_max: 64 << 20, ..WIDE };
    for bomb in bombs {
        let ground = Ground::new();
        let started = Instant::now();
        let refused = try_unpack(&ground.root(), &bomb, &limits).unwrap_err();
        assert!(refused.ends_with("the archive has more than 67108864 bytes"), "{refused}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let taken: u64 = tree::read(&ground.root()).values().map(|node| node.content.len() as u64).sum();
        assert!(taken <= 64 << 20);
    }
}

#[test]
fn entries_and_paths_are_bounded() {
    let ground = Ground::new();
    let many: Vec<u8> = header(b'5', "same/", "", 0, 0o755).repeat(100_001);
    let refused = ground.refuses(&many);
    assert_eq!(refused, "unpack same/: the archive has more than 100000 entries");
    let long = format!("{}x", "d/".repeat(2048));
    let refused = ground.refuses(&Archive::default().extended(&[("path", &long)]).file("x", "").end());
    assert!(refused.ends_with("the archive has more than 4096 bytes in a path"), "{refused}");
    let long = "n".repeat(256);
    let refused = ground.refuses(&Archive::default().extended(&[("path", &long)]).file("x", "").end());
    assert!(
        refused.starts_with("make nnn") && refused.ends_with("File name too long (os error 36)"),
        "{refused}"
    );
    let mut extended = header(b'x', "extended", "", 1 << 30, 0o644);
    extended.extend_from_slice(&[b'9'; 4096]);
    assert!(ground.refuses(&extended).ends_with("an extended header is too large"));
    let nested = Archive::default().extended(&[]).raw(&header(b'L', "l", "", 0, 0).repeat(20)).end();
    assert!(ground.refuses(&nested).ends_with("too many extended headers"));
}

#[test]
fn what_is_no_archive_is_told() {
    let ground = Ground::new();
    for nothing in [b"".as_slice(), b"x", &[0; 100], &[b'x'; 5000], &[0; 512], b"PK\x03\x04 and so on"] {
        let refused = ground.refuses(nothing);
        assert_eq!(refused, "read the archive after the beginning: it is no tar archive");
    }
    assert!(ground.refuses(b"\x1f\x8b and so on").starts_with("read the archive after the beginning"));
    assert!(
        ground.refuses(b"\x28\xb5\x2f\xfd and so on").starts_with("read the archive after the beginning")
    );
    assert_eq!(unpack(&ground.root(), &[0; 10240]).entries, 0);
    let broken = Archive::default().file("first", "x").raw(&[b'x'; 512]).end();
    assert_eq!(ground.refuses(&broken), "read the archive after first: a header is broken");
    let unknown = Archive::default().entry(b'Z', "odd", "", b"").end();
    assert_eq!(ground.refuses(&unknown), "read the archive after odd: the type of an entry is unknown");
}

#[test]
fn an_archive_that_is_cut_off_is_refused_wherever_that_is() {
    let archive = Archive::default().folder("a").file("a/b", "content").end();
    let whole = &archive[..archive.len() - 1024];
    for cut in (0..=whole.len()).step_by(64) {
        let ground = Ground::new();
        let refused = ground.refuses(&whole[..cut]);
        assert!(refused.starts_with("read the archive after "), "{cut}: {refused}");
    }
    let packed = zstd::encode_all(archive.as_slice(), 1).unwrap();
    for cut in 0..packed.len() {
        Ground::new().refuses(&packed[..cut]);
    }
}

#[test]
fn maps_of_holes_that_lie_are_refused() {
    let lines = |size: &'static str| {
        [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", size),
        ]
    };
    for (size, map) in [
        ("10", "1\n0\n11\n"),
        ("1000", "2\n5\n10\n0\n10\n"),
        ("1000", "1\n0\n100\n"),
        ("1000", "99999999999\n"),
        ("1000", "no map"),
        ("1000", "2\n0\n"),
        ("99999999999999999999", "0\n"),
    ] {
        let ground = Ground::new();
        let mut data = map.as_bytes().to_vec();
        data.resize(512, 0);
        let archive = Archive::default().extended(&lines(size)).entry(b'0', "x", "", &data).end();
        let refused = ground.refuses(&archive);
        assert!(refused.starts_with("read the archive after "), "{map}: {refused}");
    }
    let ground = Ground::new();
    let archive =
        Archive::default().extended(&lines("9223372036854775807")).entry(b'0', "x", "", &[0; 512]).end();
    ground.refuses(&archive);
    let old = Archive::default().extended(&[("GNU.sparse.numblocks", "1")]).file("x", "").end();
    assert!(ground.refuses(&old).ends_with("in a form that is not understood"));
    assert!(
        ground
            .refuses(&Archive::default().entry(b'S', "x", "", b"").open())
            .ends_with("in a form that is not understood")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_damage_gets_anything_out(at in 0_usize..6000, with in any::<[u8; 4]>(), cut in 0_usize..20_000) {
        let ground = Ground::new();
        let outside = ground.outside();
        let mut archive = Archive::default()
            .folder("a")
            .link("a/out", &outside)
            .extended(&[("path", "a/long"), ("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")])
            .file("x", "some content")
            .hard_link("a/same", "a/long")
            .file("a/.wh.gone", "")
            .entry(b'6', "pipe", "", b"")
            .end();
        let at = at % archive.len().saturating_sub(4);
        archive[at..at + 4].copy_from_slice(&with);
        archive.truncate(cut.max(at + 4));
        drop(try_unpack(&ground.root(), &archive, &WIDE));
        ground.assert_intact();
    }
}
