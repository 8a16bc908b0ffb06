//! The tar format: entries written and read, one after the other.
//!
//! Written is the POSIX format with extended headers where they are needed. Read is that, the GNU one, and the older ones,
//! as far as container images are made with them. Nothing that a header says is believed beyond its bound.

use std::io::Read;
use std::io::Write;

use super::Error;
use super::Limits;
use super::pax::Extended;
use super::shown;
use super::sys::Time;

/// Unit of an archive.
pub(super) const BLOCK_BYTES: usize = 512;
/// Bytes of an extended header or a long name: the attributes of a file are at most 64 KiB together on most file systems.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// Extended headers before one entry; more are nonsense.
const EXTENSIONS_MAX: usize = 8;

/// One entry, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) modified: Time,
    pub(super) attributes: Vec<(std::ffi::CString, Vec<u8>)>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File {
        /// Bytes of data that follow.
        stored: u64,
        /// The size of the file if it has holes: then the data begins with a map.
        sparse: Option<u64>,
    },
    HardLink(Vec<u8>),
    Link(Vec<u8>),
    Folder,
    Pipe,
    Device,
}

/// The bytes of the headers of `entry`.
pub(super) fn headers(entry: &Entry) -> Vec<u8> {
    let Entry { path, kind, mode, uid, gid, modified, attributes } = entry;
    let mut extended = Extended { attributes: attributes.clone(), ..Extended::default() };
    let (letter, stored, link) = match kind {
        EntryKind::File { stored, sparse } => {
            extended.sparse_size = *sparse;
            (b'0', *stored, b"".as_slice())
        }
        EntryKind::HardLink(target) => (b'1', 0, target.as_slice()),
        EntryKind::Link(target) => (b'2', 0, target.as_slice()),
        EntryKind::Device => (b'3', 0, b"".as_slice()),
        EntryKind::Folder => (b'5', 0, b"".as_slice()),
        EntryKind::Pipe => (b'6', 0, b"".as_slice()),
    };
    if path.len() > 100 || extended.sparse_size.is_some() {
        extended.path = Some(path.clone());
    }
    if link.len() > 100 {
        extended.link = Some(link.to_vec());
    }
    extended.size = (stored >= 1 << 33).then_some(stored);
    extended.uid = (*uid >= 1 << 21).then_some(*uid);
    extended.gid = (*gid >= 1 << 21).then_some(*gid);
    let plain_seconds = u64::try_from(modified.seconds).ok().filter(|seconds| *seconds < 1 << 33);
    if modified.nanos != 0 || plain_seconds.is_none() {
        extended.modified = Some(*modified);
    }
    let mut bytes = Vec::with_capacity(4 * BLOCK_BYTES);
    if !extended.is_empty() {
        let lines = extended.to_bytes();
        let numbers = [0o644, 0, 0, lines.len() as u64, 0];
        bytes.extend_from_slice(&header(b'x', b"PaxHeaders/entry", b"", numbers));
        bytes.extend_from_slice(&lines);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    let name = if extended.sparse_size.is_some() { b"GNUSparseFile.0/file" } else { path.as_slice() };
    let numbers = [(*mode).into(), *uid, *gid, stored, plain_seconds.unwrap_or(0)];
    bytes.extend_from_slice(&header(letter, name, link, numbers));
    bytes
}

/// A plain header; what does not fit is cut off. The numbers: mode, owner, group, size, time.
fn header(letter: u8, name: &[u8], link: &[u8], numbers: [u64; 5]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
    put(0, &name[..name.len().min(100)]);
    let fields = [(100, 7), (108, 7), (116, 7), (124, 11), (136, 11)];
    for ((at, digits), number) in fields.into_iter().zip(numbers) {
        let number = number & ((1 << (3 * digits)) - 1);
        put(at, format!("{number:0digits$o}").as_bytes());
    }
    put(156, &[letter]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Ends an archive.
pub(super) fn end(output: &mut impl Write) -> std::io::Result<()> {
    output.write_all(&[0; 2 * BLOCK_BYTES])
}

/// Reads an archive, within bounds.
pub(super) struct Reader<R> {
    input: R,
    limits: Limits,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Entries read.
    pub(super) entries: u64,
    /// Bytes of data of the current entry that were not read yet, and of what fills its last block.
    data: u64,
    padding: u64,
    /// The last entry, for errors.
    path: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R, limits: Limits) -> Self {
        Self { input, limits, bytes: 0, entries: 0, data: 0, padding: 0, path: Vec::new() }
    }

    /// The next entry. What was left of the data of the last one is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut extended = Extended::default();
        let (mut long_path, mut long_link) = (None, None);
        for _ in 0..EXTENSIONS_MAX {
            let Some(block) = self.header()? else {
                self.drain()?;
                return Ok(None);
            };
            let size = field(&block[124..136]).ok_or_else(|| self.malformed("a size is no number"))?;
            match block[156] {
                b'x' => {
                    let lines = self.extension(size)?;
                    extended = Extended::parse(&lines)
                        .ok_or_else(|| self.malformed("an extended header is broken"))?;
                }
                b'g' => drop(self.extension(size)?),
                b'L' => long_path = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(size)?).to_vec()),
                _ => {
                    extended.path = extended.path.or(long_path);
                    extended.link = extended.link.or(long_link);
                    return self.entry(&block, size, extended).map(Some);
                }
            }
        }
        Err(self.malformed("too many extended headers"))
    }

    fn entry(&mut self, block: &[u8; BLOCK_BYTES], size: u64, extended: Extended) -> Result<Entry, Error> {
        let Extended {
            path,
            link,
            size: long_size,
            uid,
            gid,
            modified,
            attributes,
            sparse_size,
            has_old_sparse,
        } = extended;
        let path = path.unwrap_or_else(|| plain_path(block));
        self.path.clone_from(&path);
        self.entries += 1;
        let Limits { bytes_max: _, entries_max, path_bytes_max } = self.limits;
        if self.entries > entries_max {
            return Err(self.over(entries_max, "entries"));
        }
        if path.len() > path_bytes_max {
            return Err(self.over(path_bytes_max as u64, "bytes in a path"));
        }
        let link = link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let kind = match block[156] {
            // Before there was a letter for folders they were told by their name.
            b'0' | b'\0' if path.ends_with(b"/") => EntryKind::Folder,
            b'0' | b'\0' | b'7' => {
                if has_old_sparse {
                    return Err(self.malformed("a file with holes is in a form that is not understood"));
                }
                EntryKind::File { stored: long_size.unwrap_or(size), sparse: sparse_size }
            }
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Link(link),
            b'3' | b'4' => EntryKind::Device,
            b'5' => EntryKind::Folder,
            b'6' => EntryKind::Pipe,
            b'S' => return Err(self.malformed("a file with holes is in a form that is not understood")),
            _ => return Err(self.malformed("the type of an entry is unknown")),
        };
        if let EntryKind::File { stored, sparse: _ } = kind {
            self.expect(stored)?;
        }
        let number = |range: std::ops::Range<usize>| field(&block[range]);
        let (Some(mode), Some(plain_uid), Some(plain_gid), Some(seconds)) =
            (number(100..108), number(108..116), number(116..124), number(136..148))
        else {
            return Err(self.malformed("a field of a header is no number"));
        };
        let seconds = i64::try_from(seconds).unwrap_or(0);
        Ok(Entry {
            path,
            kind,
            mode: u32::try_from(mode & 0o7777).expect("twelve bits"),
            uid: uid.unwrap_or(plain_uid),
            gid: gid.unwrap_or(plain_gid),
            modified: modified.unwrap_or(Time { seconds, nanos: 0 }),
            attributes,
        })
    }

    /// Reads data of the current entry. Nothing: it was all read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let want = usize::try_from(self.data).map_or(buffer.len(), |data| data.min(buffer.len()));
        if want == 0 {
            return Ok(0);
        }
        let count = self.some(&mut buffer[..want])?;
        if count == 0 {
            return Err(self.malformed("it ends in the middle of an entry"));
        }
        self.data -= count as u64;
        Ok(count)
    }

    /// Reads exactly one block of the data of the current entry.
    pub(super) fn read_block(&mut self) -> Result<[u8; BLOCK_BYTES], Error> {
        if self.data < BLOCK_BYTES as u64 {
            return Err(self.malformed("the map of a file with holes is broken"));
        }
        let mut block = [0; BLOCK_BYTES];
        self.exactly(&mut block)?;
        self.data -= BLOCK_BYTES as u64;
        Ok(block)
    }

    /// Bytes of data of the current entry that are left.
    pub(super) fn left(&self) -> u64 {
        self.data
    }

    /// The error for a broken archive.
    pub(super) fn malformed(&self, complaint: &'static str) -> Error {
        Error::Malformed { path: shown(&self.path), complaint }
    }

    fn over(&self, limit: u64, unit: &'static str) -> Error {
        Error::Limit { path: shown(&self.path), limit, unit }
    }

    fn expect(&mut self, data: u64) -> Result<(), Error> {
        // Before anything of it is read, so that what cannot fit is not begun.
        let most = self.limits.bytes_max.min(i64::MAX.cast_unsigned());
        if data > most.saturating_sub(self.bytes) {
            return Err(self.over(self.limits.bytes_max, "bytes"));
        }
        self.data = data;
        self.padding = data.next_multiple_of(BLOCK_BYTES as u64) - data;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, Error> {
        let mut block = [0; BLOCK_BYTES];
        self.exactly(&mut block)?;
        if block == [0; BLOCK_BYTES] {
            return if self.bytes > BLOCK_BYTES as u64 || self.is_end()? {
                Ok(None)
            } else {
                Err(self.malformed("it is no tar archive"))
            };
        }
        let complaint =
            if self.bytes == BLOCK_BYTES as u64 { "it is no tar archive" } else { "a header is broken" };
        let said = field(&block[148..156]).ok_or_else(|| self.malformed(complaint))?;
        let sum = |value: fn(u8) -> i64| -> i64 {
            block
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { value(*byte) })
                .sum()
        };
        // Some old programs took the bytes for signed.
        let sums = [sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))];
        if i64::try_from(said).is_ok_and(|said| sums.contains(&said)) {
            Ok(Some(block))
        } else {
            Err(self.malformed(complaint))
        }
    }

    /// Whether a first block of zeros is the end of an archive without entries.
    fn is_end(&mut self) -> Result<bool, Error> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < block.len() {
            match self.some(&mut block[filled..])? {
                0 => return Ok(false),
                count => filled += count,
            }
        }
        Ok(block == [0; BLOCK_BYTES])
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > EXTENDED_BYTES_MAX {
            return Err(self.malformed("an extended header is too large"));
        }
        self.expect(size)?;
        let mut bytes = vec![0; usize::try_from(size).expect("looked at above")];
        self.exactly(&mut bytes)?;
        self.data = 0;
        self.skip()?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), Error> {
        let mut left = std::mem::take(&mut self.data) + std::mem::take(&mut self.padding);
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(64 << 10)];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            self.exactly(&mut chunk[..want])?;
            left -= want as u64;
        }
        Ok(())
    }

    /// Reads what fills the last record, and lets the decompressor see its end.
    fn drain(&mut self) -> Result<(), Error> {
        let mut chunk = vec![0; 64 << 10];
        while self.some(&mut chunk)? > 0 {}
        Ok(())
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let count = self.some(&mut buffer[filled..])?;
            if count == 0 {
                let is_empty = self.bytes < BLOCK_BYTES as u64;
                return Err(self.malformed(if is_empty { "it is no tar archive" } else { "it ends early" }));
            }
            filled += count;
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.input.read(buffer) {
                Ok(count) => {
                    self.bytes += count as u64;
                    if self.bytes > self.limits.bytes_max {
                        return Err(self.over(self.limits.bytes_max, "bytes"));
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Input { path: shown(&self.path), source }),
            }
        }
    }
}

fn plain_path(block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // GNU headers have other things there.
    let has_prefix = &block[257..263] == b"ustar\0" && !prefix.is_empty();
    if has_prefix { [prefix, name].join(&b'/') } else { name.to_vec() }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits between blanks, or binary when the first bit is set. Nothing counts as zero, and
/// what is negative too.
fn field(bytes: &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 != 0 {
        if first & 0x40 != 0 {
            return Some(0);
        }
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        if first & 0x3f != 0 || high.iter().any(|byte| *byte != 0) {
            return None;
        }
        return Some(low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let digits = until_nul(bytes).trim_ascii();
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}
