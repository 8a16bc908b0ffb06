//! Checkpoints that an attacker has prepared: some that must be refused whole, and one that is restored and must come to
//! nothing.

use crate::archive::Archive;
use crate::archive::Entry;
use crate::archive::Kind;
use crate::archive::bomb;
use crate::ground::Ground;
use crate::ground::PLACES;
use crate::script::ATTACKER;
use crate::script::PROGRAM;

/// The folder of everything that the attacker looks at afterwards (`attacker`, `prepared.rs`), as an archive names it.
const FOLDER: &str = "opt/prepared";
/// Zeros of the bomb.
const BOMB_BYTES: u64 = 10 << 30;

/// Checkpoints that must not be restored, by what they try.
pub(crate) fn refused(ground: &Ground) -> Vec<(&'static str, Vec<u8>)> {
    let canary = ground.canary.display().to_string();
    let hostile = ground.hostile.display().to_string();
    let up = format!("{}{canary}", "../".repeat(64).trim_end_matches('/'));
    let file = |path: &str| Archive::default().file(path, 0o644, b"escape").end();
    let hard_link = |target: &str| {
        Archive::default().link(Kind::HardLink, "linked", target).file("linked", 0o644, b"escape").end()
    };
    let mut cut = Archive::default().file("half", 0o644, &[1; 4096]).open();
    cut.truncate(1024);
    vec![
        ("a name that begins at the root", file(&canary)),
        ("a name that climbs", file(&up)),
        ("a name that climbs from below", file(&format!("opt/{up}"))),
        ("a hard link to a file of the host", hard_link(&canary)),
        ("a hard link that climbs", hard_link(&up)),
        (
            "a file behind a link",
            Archive::default().link(Kind::Link, "out", &hostile).file("out/planted", 0o644, b"escape").end(),
        ),
        (
            "a hard link behind a link",
            Archive::default()
                .link(Kind::Link, "out", &hostile)
                .link(Kind::HardLink, "linked", "out/canary")
                .end(),
        ),
        ("a bomb of zeros", bomb(BOMB_BYTES)),
        ("an end in the middle", cut),
        ("no archive at all", b"#!/bin/sh\nexit 1\n".repeat(64)),
    ]
}

/// A checkpoint that is restored: the attacker, links to the host wherever a start touches something, devices, programs
/// that would gain rights, and folders that an overlay would look for elsewhere.
pub(crate) fn restored(ground: &Ground) -> Vec<u8> {
    let canary = ground.canary.display().to_string();
    let hostile = ground.hostile.display().to_string();
    let place = |name: &str| format!("{FOLDER}/{name}");
    let mut archive = Archive::default()
        .folder("opt")
        .file(PROGRAM.trim_start_matches('/'), 0o755, ATTACKER)
        .folder(FOLDER)
        .file(&place("set-user"), 0o6755, ATTACKER)
        .link(Kind::Link, &place("link"), &canary)
        .link(Kind::Link, &place("links"), &hostile);
    for (name, kind) in [
        ("disk", Kind::Block(8, 0)),
        ("virtual-disk", Kind::Block(254, 0)),
        ("memory", Kind::Character(1, 1)),
        ("log", Kind::Character(1, 11)),
    ] {
        let path = place(name);
        archive = archive.entry(&Entry { kind, path: &path, link: "", mode: 0o666, records: &[] }, b"");
    }
    // Version 2, effective, every capability permitted.
    let capabilities = [&[1, 0, 0, 2], [0xff; 4].as_slice(), &[0; 4], &[0xff; 4], &[0; 4]].concat();
    let path = place("capable");
    let records: [(&str, &[u8]); 1] = [("SCHILY.xattr.security.capability", &capabilities)];
    let capable = Entry { kind: Kind::File, path: &path, link: "", mode: 0o755, records: &records };
    archive = archive.entry(&capable, ATTACKER);
    for (name, kind, target) in
        [("redirected/", Kind::Folder, &hostile), ("redirected-file", Kind::File, &canary)]
    {
        let path = place(name);
        let records: [(&str, &[u8]); 6] = [
            ("SCHILY.xattr.trusted.overlay.redirect", target.as_bytes()),
            ("SCHILY.xattr.trusted.overlay.metacopy", b""),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", target.as_bytes()),
            ("SCHILY.xattr.user.overlay.metacopy", b""),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ];
        archive = archive.entry(&Entry { kind, path: &path, link: "", mode: 0o755, records: &records }, b"");
    }
    for (place, name) in PLACES {
        let target = ground.hostile.join(name).display().to_string();
        archive = archive.link(Kind::Link, place.trim_start_matches('/'), &target);
    }
    archive.end()
}
