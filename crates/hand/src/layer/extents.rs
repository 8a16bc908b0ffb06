//! Files with holes: where their data is, found on the disk, and as the map that precedes the data in an archive (version
//! 1.0 of the sparse format that GNU tar and others read).

use std::fs::File;
use std::io;

use super::pax::number;
use super::sys;

/// Pieces of data in one file: 16 GiB of every other page. Beyond that the file is not packed.
pub(super) const EXTENTS_MAX: usize = 2 << 20;
/// Unit of an archive.
const BLOCK_BYTES: usize = 512;

/// A piece of data: where it begins, and how long it is.
pub(super) type Extent = (u64, u64);

/// Where the data of `file` is. `None`: everywhere, or in too many pieces.
pub(super) fn find(file: &File, bytes: u64) -> io::Result<Found> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < bytes
        && let Some(start) = sys::seek(file, at, false)?
    {
        let end = sys::seek(file, start, true)?.unwrap_or(bytes).min(bytes);
        if start >= bytes || end <= start {
            break;
        }
        if extents.len() == EXTENTS_MAX {
            return Ok(Found::TooMany);
        }
        extents.push((start, end - start));
        at = end;
    }
    Ok(if extents == [(0, bytes)] { Found::Whole } else { Found::Pieces(extents) })
}

/// What a look at a file on the disk finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No holes.
    Whole,
    /// These pieces.
    Pieces(Vec<Extent>),
    /// More than [`EXTENTS_MAX`].
    TooMany,
}

/// The map of `extents` in a file of `bytes`, padded to whole blocks.
pub(super) fn map(extents: &[Extent], bytes: u64) -> Vec<u8> {
    // Readers take the end of the last piece for the end of the file.
    let ends_in_hole = extents.last().is_none_or(|(start, length)| start + length < bytes);
    let end = ends_in_hole.then_some((bytes, 0));
    let mut map = format!("{}\n", extents.len() + usize::from(ends_in_hole)).into_bytes();
    for (start, length) in extents.iter().copied().chain(end) {
        map.extend_from_slice(format!("{start}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
    map
}

/// A map as it is read, block by block.
#[derive(Debug, Default)]
pub(super) struct Parser {
    count: Option<usize>,
    start: Option<u64>,
    digits: Vec<u8>,
    extents: Vec<Extent>,
}

impl Parser {
    /// Takes a block. True when the map is complete; `None` when it is no map of a file of `bytes`.
    pub(super) fn push(&mut self, block: &[u8], bytes: u64) -> Option<bool> {
        for byte in block {
            if self.count == Some(self.extents.len()) {
                return Some(true);
            }
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 20 {
                    return None;
                }
                continue;
            }
            let value = number(&self.digits)?;
            self.digits.clear();
            match (self.count, self.start.take()) {
                (None, _) => {
                    self.count = Some(usize::try_from(value).ok().filter(|count| *count <= EXTENTS_MAX + 1)?);
                }
                (Some(_), None) => self.start = Some(value),
                (Some(_), Some(start)) => {
                    let last = self.extents.last().map_or(0, |(start, length)| start + length);
                    let end = start.checked_add(value)?;
                    if start < last || end > bytes {
                        return None;
                    }
                    self.extents.push((start, value));
                }
            }
        }
        Some(self.count == Some(self.extents.len()))
    }

    /// The pieces.
    pub(super) fn finish(self) -> Vec<Extent> {
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(map: &[u8], bytes: u64) -> Option<Vec<Extent>> {
        let mut parser = Parser::default();
        for block in map.chunks(BLOCK_BYTES) {
            if parser.push(block, bytes)? {
                return Some(parser.finish());
            }
        }
        None
    }

    #[test]
    fn maps_survive_a_round_trip() {
        for extents in [vec![], vec![(0, 5)], vec![(7, 1)], (0..1000).map(|index| (index * 10, 3)).collect()]
        {
            let read = parse(&map(&extents, 10_000), 10_000).unwrap();
            assert_eq!(read.iter().filter(|(_, length)| *length > 0).copied().collect::<Vec<_>>(), extents);
        }
        assert_eq!(map(&[(0, 10)], 10).len(), 512);
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for lie in ["x\n", "\n", "1\n5\n6\n", "2\n5\n2\n0\n1\n", "1\n18446744073709551615\n1\n", "99999999\n"]
        {
            assert_eq!(parse(lie.as_bytes(), 10), None, "{lie:?}");
        }
        assert_eq!(parse(b"2\n1\n1\n", 10), None, "it ends early");
    }
}
