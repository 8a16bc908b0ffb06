//! Archives that no honest program would make, entry by entry.

use std::fmt::Write;

const BLOCK_BYTES: usize = 512;
/// Longest name that a plain header holds.
const NAME_BYTES_MAX: usize = 100;

/// What an entry is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    File,
    HardLink,
    Link,
    Character(u32, u32),
    Block(u32, u32),
    Folder,
}

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

/// An entry without data.
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) path: &'a str,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    /// The name and the value of further records, such as attributes.
    pub(crate) records: &'a [(&'a str, &'a [u8])],
}

impl Archive {
    /// Adds a folder with the usual permissions.
    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(&Entry { kind: Kind::Folder, path, link: "", mode: 0o755, records: &[] }, b"")
    }

    /// Adds a file.
    pub(crate) fn file(self, path: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(&Entry { kind: Kind::File, path, link: "", mode, records: &[] }, data)
    }

    /// Adds a link or a hard link.
    pub(crate) fn link(self, kind: Kind, path: &str, link: &str) -> Self {
        self.entry(&Entry { kind, path, link, mode: 0o777, records: &[] }, b"")
    }

    /// Adds an entry.
    pub(crate) fn entry(mut self, entry: &Entry<'_>, data: &[u8]) -> Self {
        let Entry { kind, path, link, mode, records } = *entry;
        let mut records = records.to_vec();
        for (name, value) in [("path", path), ("linkpath", link)] {
            if value.len() > NAME_BYTES_MAX {
                records.push((name, value.as_bytes()));
            }
        }
        if !records.is_empty() {
            let lines: Vec<u8> = records.iter().flat_map(|(name, value)| record(name, value)).collect();
            self.bytes.extend(header(b'x', "extended", "", 0o644, lines.len(), (0, 0)));
            self.pad(&lines);
        }
        let (letter, device) = match kind {
            Kind::File => (b'0', (0, 0)),
            Kind::HardLink => (b'1', (0, 0)),
            Kind::Link => (b'2', (0, 0)),
            Kind::Character(major, minor) => (b'3', (major, minor)),
            Kind::Block(major, minor) => (b'4', (major, minor)),
            Kind::Folder => (b'5', (0, 0)),
        };
        self.bytes.extend(header(letter, path, link, mode, data.len(), device));
        self.pad(data);
        self
    }

    /// The whole archive.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 2 * BLOCK_BYTES]);
        self.bytes
    }

    /// What there is of it, without an end.
    pub(crate) fn open(self) -> Vec<u8> {
        self.bytes
    }

    fn pad(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
}

/// An archive with one file of so many zeros, packed by hand: a few bytes for each 128 KiB.
pub(crate) fn bomb(bytes: u64) -> Vec<u8> {
    const RUN_BYTES: u32 = 128 << 10;
    const RAW: u32 = 0;
    const RUN: u32 = 1 << 1;
    let size = bytes.to_string();
    let records: [(&str, &[u8]); 1] = [("size", size.as_bytes())];
    let entry = Entry { kind: Kind::File, path: "zeros", link: "", mode: 0o644, records: &records };
    let head = Archive::default().entry(&entry, b"").open();
    // The magic number of zstd; a frame without a size or a sum; a window of 128 KiB.
    let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let block = |packed: &mut Vec<u8>, kind: u32, size: u32| {
        packed.extend_from_slice(&(kind | size << 3).to_le_bytes()[..3]);
    };
    block(&mut packed, RAW, u32::try_from(head.len()).unwrap_or(0));
    packed.extend_from_slice(&head);
    for _ in 0..bytes / u64::from(RUN_BYTES) {
        block(&mut packed, RUN, RUN_BYTES);
        packed.push(0);
    }
    packed
}

/// A line that says how long it is.
fn record(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    let mut line = String::new();
    write!(line, "{length} {name}=").expect("a string takes every write");
    [line.as_bytes(), value, b"\n"].concat()
}

fn header(
    letter: u8,
    path: &str,
    link: &str,
    mode: u32,
    size: usize,
    device: (u32, u32),
) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
    let cut = |text: &str| text.as_bytes()[..text.len().min(NAME_BYTES_MAX)].to_vec();
    put(0, &cut(path));
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[letter]);
    put(157, &cut(link));
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", device.0).as_bytes());
    put(337, format!("{:07o}", device.1).as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
