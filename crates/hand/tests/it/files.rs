//! `read`, `write` and `edit`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::hand::Client;
use crate::hand::Hand;

fn ok(client: &mut Client, tool: &str, input: &Value) -> String {
    let finished = client.call(tool, input);
    assert!(!finished.is_error, "{}", finished.text());
    finished.text().to_owned()
}

fn error(client: &mut Client, tool: &str, input: &Value) -> String {
    let finished = client.call(tool, input);
    assert!(finished.is_error, "{}", finished.text());
    finished.text().to_owned()
}

#[test]
fn text_is_read_as_it_is_and_in_ranges() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fs::write(hand.workspace().join("a.txt"), "eins\r\nzwei\ndrei\n").unwrap();
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "a.txt"})), "eins\r\nzwei\ndrei\n");
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "a.txt", "view_range": [2, 3]})), "zwei\ndrei");
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "a.txt", "view_range": [3, -1]})), "drei\n");
    // As the official toolset reads what models write.
    assert_eq!(
        ok(&mut client, "read", &json!({"file_path": "a.txt", "view_range": ["2", 3.0]})),
        "zwei\ndrei"
    );
    let absolute = hand.workspace().join("a.txt");
    assert_eq!(
        ok(&mut client, "read", &json!({"file_path": absolute, "view_range": null})),
        "eins\r\nzwei\ndrei\n"
    );
    let bad = "read: view_range must be [start_line, end_line]";
    assert_eq!(error(&mut client, "read", &json!({"file_path": "a.txt", "view_range": [1]})), bad);
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "/proc/self/comm"})), "hand\n");
}

#[test]
fn what_cannot_be_read_is_refused_without_waiting() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let at = |name: &str| hand.workspace().join(name);
    client.bash("mkfifo fifo; mkdir dir; ln -s loop loop; ln -s fifo link; head -c 300 /dev/urandom >noise");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["fifo", "dir", "link", "socket", "/dev/zero", "/dev/tty"] {
        let text = error(&mut client, "read", &json!({ "file_path": name }));
        assert!(text == format!("read: {name}: not a regular file"), "{text}");
        assert!(
            client.call("edit", &json!({"file_path": name, "old_string": "a", "new_string": "b"})).is_error
        );
        assert!(client.call("write", &json!({"file_path": name, "content": "b"})).is_error);
    }
    assert_eq!(
        error(&mut client, "read", &json!({"file_path": "none"})),
        "read: none: no such file or directory"
    );
    assert_eq!(
        error(&mut client, "read", &json!({"file_path": "noise/x"})),
        "read: noise/x: not a directory"
    );
    assert_eq!(
        error(&mut client, "read", &json!({"file_path": "loop"})),
        "read: loop: too many levels of symbolic links"
    );
    let text = "read: noise: not valid UTF-8 text (binary files are only supported for image/PDF extensions)";
    assert_eq!(error(&mut client, "read", &json!({"file_path": "noise"})), text);
    assert!(client.call("read", &json!({"file_path": "a\0b"})).is_error);
}

#[test]
fn large_and_sparse_files_are_bounded() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let sparse = fs::File::create(hand.workspace().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let text = error(&mut client, "read", &json!({"file_path": "sparse"}));
    assert_eq!(
        text,
        "read: sparse is 1099511627776 bytes, exceeds 262144-byte limit. \
         Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500]."
    );
    let text = error(&mut client, "read", &json!({"file_path": "sparse", "view_range": [1, 1]}));
    assert!(text.starts_with("read: line 1 of sparse alone exceeds 262144-byte limit."), "{text}");
    client.bash("seq 1 100000 >lines");
    assert_eq!(
        ok(&mut client, "read", &json!({"file_path": "lines", "view_range": [99999, 0]})),
        "99999\n100000\n"
    );
    let text = error(&mut client, "read", &json!({"file_path": "lines", "view_range": [1, 99999]}));
    assert!(text.starts_with("read: view_range [1, 99999] of lines exceeds 262144-byte limit."), "{text}");
    let text = ok(&mut client, "read", &json!({"file_path": "lines", "view_range": [1, 30000]}));
    assert!(text.contains("[output truncated; full output: ") && text.chars().count() <= 100_000);
    let text =
        error(&mut client, "edit", &json!({"file_path": "sparse", "old_string": "a", "new_string": "b"}));
    assert!(text.starts_with("edit: sparse is 1099511627776 bytes, exceeds 16777216-byte limit."), "{text}");
}

#[test]
fn images_and_documents_become_blocks_by_what_they_are() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let at = |name: &str| hand.workspace().join(name);
    let png = b"\x89PNG\r\n\x1a\n and more".as_slice();
    let media = [
        ("a.png", png, "image/png"),
        ("b.txt", b"\xff\xd8\xff\xe0jpeg".as_slice(), "image/jpeg"),
        ("c.jpg", b"GIF89a...".as_slice(), "image/gif"),
        ("d", b"RIFF\x01\x02\x03\x04WEBPVP8 ".as_slice(), "image/webp"),
    ];
    for (name, bytes, media_type) in media {
        fs::write(at(name), bytes).unwrap();
        let finished = client.call("read", &json!({ "file_path": name }));
        let source = json!({"type": "base64", "media_type": media_type, "data": STANDARD.encode(bytes)});
        assert_eq!(finished.content, [json!({"type": "image", "source": source})]);
    }
    fs::write(at("e.pdf"), "%PDF-1.7").unwrap();
    let source =
        json!({"type": "base64", "media_type": "application/pdf", "data": STANDARD.encode("%PDF-1.7")});
    let finished = client.call("read", &json!({"file_path": "e.pdf"}));
    assert_eq!(finished.content, [json!({"type": "document", "source": source})]);
    fs::write(at("fake.png"), "not an image").unwrap();
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "fake.png"})), "not an image");
    let text = "read: view_range is not supported for image/PDF files";
    assert_eq!(error(&mut client, "read", &json!({"file_path": "a.png", "view_range": [1, 2]})), text);
    fs::write(at("big.png"), [png, &vec![0; 4 << 20]].concat()).unwrap();
    let text = "read: big.png is 4194321 bytes, exceeds 3932160-byte limit for image/PDF files.";
    assert_eq!(error(&mut client, "read", &json!({"file_path": "big.png"})), text);
}

#[test]
fn notebooks_are_read_as_text() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let notebook = json!({"cells": [{"cell_type": "code", "execution_count": 1, "source": ["print(1)"], "outputs": [
        {"output_type": "stream", "text": "1\n"}]}], "nbformat": 4});
    fs::write(hand.workspace().join("n.ipynb"), notebook.to_string()).unwrap();
    let text = "[cell 0: code, run 1]\nprint(1)\n\n[output of cell 0]\n1";
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "n.ipynb"})), text);
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "n.ipynb", "view_range": [2, 2]})), "print(1)");
    fs::write(hand.workspace().join("m.ipynb"), "{}").unwrap();
    assert_eq!(ok(&mut client, "read", &json!({"file_path": "m.ipynb"})), "{}");
}

#[test]
fn files_are_written_whole_with_their_folders() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let at = |name: &str| hand.workspace().join(name);
    assert_eq!(
        ok(&mut client, "write", &json!({"file_path": "x/y/z", "content": "hé"})),
        "wrote 3 bytes to x/y/z"
    );
    assert_eq!(fs::read_to_string(at("x/y/z")).unwrap(), "hé");
    assert_eq!(fs::metadata(at("x/y/z")).unwrap().permissions().mode() & 0o7777, 0o644);
    fs::write(at("tool"), "#!/bin/sh").unwrap();
    fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    let before = fs::metadata(at("tool")).unwrap();
    ok(&mut client, "write", &json!({"file_path": "tool", "content": ""}));
    let after = fs::metadata(at("tool")).unwrap();
    assert_eq!((after.mode() & 0o7777, after.len()), (0o750, 0));
    assert_ne!(before.ino(), after.ino(), "replaced, not overwritten");
    assert_eq!(
        error(&mut client, "write", &json!({"file_path": "x/y", "content": ""})),
        "write: x/y: is a directory"
    );
    assert_eq!(
        error(&mut client, "write", &json!({"file_path": "tool/a", "content": ""})),
        "write: tool/a: not a directory"
    );
    assert_eq!(error(&mut client, "write", &json!({"file_path": "a"})), "write: content is required");
    let names: Vec<_> =
        fs::read_dir(hand.workspace()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
}

#[test]
fn links_are_followed_to_what_they_name() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let at = |name: &str| hand.workspace().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/target"), "old").unwrap();
    symlink("dir/target", at("link")).unwrap();
    symlink("link", at("link2")).unwrap();
    symlink("dir/missing", at("dangling")).unwrap();
    symlink("dir", at("dirlink")).unwrap();
    ok(&mut client, "write", &json!({"file_path": "link2", "content": "new"}));
    ok(&mut client, "write", &json!({"file_path": "dangling", "content": "made"}));
    ok(&mut client, "write", &json!({"file_path": "dirlink/x", "content": "in"}));
    ok(&mut client, "edit", &json!({"file_path": "link", "old_string": "new", "new_string": "newer"}));
    assert!(at("link").is_symlink() && at("link2").is_symlink() && at("dangling").is_symlink());
    let texts = ["dir/target", "dir/missing", "dir/x"].map(|name| fs::read_to_string(at(name)).unwrap());
    assert_eq!(texts, ["newer", "made", "in"]);
    symlink("loop", at("loop")).unwrap();
    let text = error(&mut client, "write", &json!({"file_path": "loop", "content": ""}));
    assert_eq!(text, "write: loop: too many levels of symbolic links");
    fs::hard_link(at("dir/target"), at("twin")).unwrap();
    ok(&mut client, "write", &json!({"file_path": "twin", "content": "both"}));
    assert_eq!(fs::read_to_string(at("dir/target")).unwrap(), "both");
}

#[test]
fn edits_replace_exactly_what_is_named() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let path = hand.workspace().join("f");
    fs::write(&path, "a b a\r\n$1 \\n").unwrap();
    let edit = |old: &str, new: &str, all: bool| json!({"file_path": "f", "old_string": old, "new_string": new, "replace_all": all});
    assert_eq!(error(&mut client, "edit", &edit("x", "y", false)), "edit: old_string not found in f");
    let text = "edit: old_string appears 2 times in f (must be unique)";
    assert_eq!(error(&mut client, "edit", &edit("a", "y", false)), text);
    assert_eq!(ok(&mut client, "edit", &edit("a", "$&", true)), "edited f (2 replacement(s))");
    assert_eq!(ok(&mut client, "edit", &edit("$1 \\n", "", false)), "edited f (1 replacement(s))");
    assert_eq!(fs::read_to_string(&path).unwrap(), "$& b $&\r\n");
    assert_eq!(error(&mut client, "edit", &edit("", "y", false)), "edit: old_string is required");
    fs::write(&path, b"\xff").unwrap();
    let text = "edit: f: not valid UTF-8 text (cannot edit binary files)";
    assert_eq!(error(&mut client, "edit", &edit("a", "b", false)), text);
}
