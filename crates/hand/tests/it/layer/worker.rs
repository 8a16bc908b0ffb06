//! The worker, in its jail.

#![expect(unsafe_code, reason = "enters namespaces, which the standard library cannot")]

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use hand::confine::Identity;
use hand::layer::LayerSpec;
use hand::layer::Work;
use hand::protocol::control;
use hand::start::Start;
use serde_json::Value;
use tempfile::TempDir;

use super::WIDE;
use super::pack;
use super::tree;
use crate::hand::launch;
use crate::hand::send;

/// Makes namespaces of which this process is the root, as the spawner does without privilege.
fn enter_namespaces() -> io::Result<()> {
    let kinds = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    // SAFETY: plain flags; static strings that end in NUL, with their lengths.
    unsafe {
        let (uid, gid) = (libc::geteuid(), libc::getegid());
        assert_eq!((uid, gid), (0, 0));
        if libc::unshare(kinds) < 0 {
            return Err(io::Error::last_os_error());
        }
        for (path, text) in [
            (c"/proc/self/setgroups", "deny"),
            (c"/proc/self/uid_map", "0 0 1"),
            (c"/proc/self/gid_map", "0 0 1"),
        ] {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            let written = libc::write(file, text.as_ptr().cast(), text.len());
            libc::close(file);
            if written < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Has a worker do `work` in `folder`, and gives `talk` the other end of its stream; answers its exit status.
fn employ(folder: &Path, work: Work, talk: impl FnOnce(UnixStream)) -> Option<i32> {
    let stage = TempDir::new().unwrap();
    fs::create_dir(stage.path().join("root")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hand"));
    command.env_clear();
    let (mut child, socket) = launch(&mut command, enter_namespaces);
    let identity = Identity::Entered { has_groups: false };
    let spec = LayerSpec { identity, stage: stage.path().to_owned(), folder: folder.to_owned(), work };
    send(&socket, &serde_json::to_vec(&Start::Layer(spec)).unwrap(), None);
    let (ours, theirs) = UnixStream::pair().unwrap();
    send(&socket, &[control::ADOPT], Some(&theirs));
    drop(theirs);
    let mut word = vec![0_u8; 1000];
    // SAFETY: a buffer with its length.
    let length = unsafe { libc::recv(socket.as_raw_fd(), word.as_mut_ptr().cast(), word.len(), 0) };
    word.truncate(usize::try_from(length).unwrap());
    assert_eq!(word, [control::READY], "{}", String::from_utf8_lossy(&word));
    talk(ours);
    child.wait().unwrap().code()
}

fn chunk(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn send_chunk(stream: &mut UnixStream, bytes: &[u8]) {
    stream.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
}

fn word(stream: &mut UnixStream) -> Value {
    serde_json::from_slice(&chunk(stream)).unwrap()
}

#[test]
fn a_layer_goes_out_of_one_jail_and_into_another() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::create_dir_all(from.path().join("a/b")).unwrap();
    fs::write(from.path().join("a/b/large"), vec![b'x'; 3_000_000]).unwrap();
    let noise: Vec<u8> =
        (0..500_000_u64).flat_map(|n| n.wrapping_mul(n).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(from.path().join("a/random"), noise).unwrap();
    fs::hard_link(from.path().join("a/b/large"), from.path().join("same")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", from.path().join("link")).unwrap();
    tree::whiteout(&from.path().join("gone"));
    tree::set_attribute(&from.path().join("a"), "user.overlay.opaque", b"y");
    let mut archive = Vec::new();
    let status = employ(from.path(), Work::Pack, |mut stream| {
        loop {
            match chunk(&mut stream) {
                bytes if bytes.is_empty() => break,
                bytes => archive.extend(bytes),
            }
        }
        let said = word(&mut stream);
        assert_eq!((&said["ok"]["entries"], &said["ok"]["skipped"]), (&9.into(), &0.into()), "{said}");
    });
    assert_eq!(status, Some(0));
    assert!(archive == pack(from.path()).0, "the jail changes nothing");
    let status = employ(to.path(), Work::Unpack { limits: WIDE }, |mut stream| {
        for bytes in archive.chunks(100_000) {
            send_chunk(&mut stream, bytes);
        }
        send_chunk(&mut stream, b"");
        let said = word(&mut stream);
        assert_eq!((&said["ok"]["entries"], &said["ok"]["unowned"]), (&9.into(), &0.into()), "{said}");
    });
    assert_eq!(status, Some(0));
    assert!(tree::read(to.path()) == tree::read(from.path()));
}

#[test]
fn a_worker_tells_what_was_wrong_even_to_one_who_still_sends() {
    let to = TempDir::new().unwrap();
    let status = employ(to.path(), Work::Unpack { limits: WIDE }, |mut stream| {
        for _ in 0..100 {
            send_chunk(&mut stream, &vec![b'x'; 100_000]);
        }
        send_chunk(&mut stream, b"");
        let said = word(&mut stream);
        assert_eq!(said["error"], "read the archive after the beginning: it is no tar archive");
    });
    assert_eq!(status, Some(1));
}

#[test]
fn a_stream_that_is_cut_off_fails_the_work() {
    let to = TempDir::new().unwrap();
    let archive = pack(to.path()).0;
    let status = employ(to.path(), Work::Unpack { limits: WIDE }, |mut stream| {
        send_chunk(&mut stream, &archive[..20]);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let said = word(&mut stream);
        assert!(said["error"].as_str().unwrap().starts_with("read the archive after "), "{said}");
    });
    assert_eq!(status, Some(1));
}

#[test]
fn owners_that_do_not_exist_in_the_jail_are_counted() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(from.path().join("file"), "x").unwrap();
    std::os::unix::fs::chown(from.path().join("file"), Some(1000), Some(1000)).unwrap();
    let archive = pack(from.path()).0;
    let status = employ(to.path(), Work::Unpack { limits: WIDE }, |mut stream| {
        send_chunk(&mut stream, &archive);
        send_chunk(&mut stream, b"");
        assert_eq!(word(&mut stream)["ok"]["unowned"], 1);
    });
    assert_eq!(status, Some(0));
    assert_eq!(tree::read(to.path())[Path::new("file")].owner, (0, 0));
}
