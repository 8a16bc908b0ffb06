//! Archives of images, looked through without unpacking them.

use std::io;
use std::io::Read;

use super::archive::Contents;
use super::archive::look;
use super::tar::Input;
use super::tar::Kind;

/// A look ends, names each file once, and places its bytes where they can be in an archive of that length.
pub fn check(bytes: &[u8]) {
    let names: [&[u8]; 16] = [
        b"blobs",
        b"sha256",
        b"index.json",
        b"manifest.json",
        b"oci-layout",
        b"a",
        b"b",
        b"layer.tar",
        b".",
        b"..",
        b"",
        b"./index.json",
        b"usr",
        b"etc/passwd",
        b"0",
        b"VERSION",
    ];
    let archive = crate::tar::archive(bytes, &names);
    let found = look(&mut Passed { bytes: &archive });
    if let Ok(Contents::Images(entries)) = found {
        let is_there = |name: &str| matches!(entries.get(name), Some(Kind::File { .. }));
        assert!(is_there("index.json") || is_there("manifest.json"));
        assert!(entries.len() <= archive.len() / 512);
        for (name, kind) in &entries {
            assert!(!name.starts_with("./") && !name.ends_with('/') && !name.contains('\0'));
            if let Kind::File { offset, bytes } = kind {
                assert!(offset % 512 == 0 && *offset <= archive.len() as u64);
                assert!(
                    offset.checked_add(*bytes).is_some_and(|end| end <= archive.len() as u64),
                    "{name} is cut off"
                );
            }
        }
    }
}

/// As a stream is passed over: what is not there is an error.
struct Passed<'a> {
    bytes: &'a [u8],
}

impl Read for Passed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Input for Passed<'_> {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let count = usize::try_from(bytes).ok().filter(|count| *count <= self.bytes.len());
        self.bytes = &self.bytes[count.ok_or(io::ErrorKind::UnexpectedEof)?..];
        Ok(())
    }
}
