//! Archives made by hand, entry by entry.

use std::fmt::Write;

/// An archive in the making.
#[derive(Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds an entry.
    pub(super) fn entry(mut self, letter: u8, path: &str, link: &str, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(&header(letter, path, link, data.len() as u64, 0o644));
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, path: &str, data: &str) -> Self {
        self.entry(b'0', path, "", data.as_bytes())
    }

    pub(super) fn folder(self, path: &str) -> Self {
        self.entry(b'5', path, "", b"")
    }

    pub(super) fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, b"")
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, b"")
    }

    /// Adds an extended header for the next entry.
    pub(super) fn extended(self, lines: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in lines {
            let rest = key.len() + value.len() + 3;
            let length = (rest..rest + 20).find(|length| *length == rest + length.to_string().len()).unwrap();
            writeln!(data, "{length} {key}={value}").unwrap();
        }
        self.entry(b'x', "extended", "", data.as_bytes())
    }

    /// Adds bytes as they are.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Without the end.
    pub(super) fn open(self) -> Vec<u8> {
        self.bytes
    }

    /// The whole archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

/// A header.
pub(super) fn header(letter: u8, path: &str, link: &str, size: u64, mode: u32) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[letter]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
