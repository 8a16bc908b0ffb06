//! Zip archives, and gzip streams.

/// A zip archive of uncompressed files.
pub(super) fn zip(files: &[(String, String)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let place = length(archive.len());
        // Version, flags, method, time, date (the first day that there is), checksum, both sizes, length of the name.
        let mut common = Vec::new();
        common.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend_from_slice(&checksum(text.as_bytes()).to_le_bytes());
        common.extend_from_slice(&length(text.len()).to_le_bytes());
        common.extend_from_slice(&length(text.len()).to_le_bytes());
        common.extend_from_slice(&length(name.len()).to_le_bytes()[..2]);
        common.extend_from_slice(&[0, 0]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(text.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        // Comment, disk, internal and external attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&place.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (count, start, size) =
        (length(files.len()).to_le_bytes(), length(archive.len()), length(directory.len()));
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&size.to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

/// Bytes as a gzip stream that compresses nothing.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Magic, method, flags, time, extra flags, an unknown system.
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(piece) = pieces.next() {
        let size = u16::try_from(piece.len()).expect("pieces are cut to this size");
        stream.push(u8::from(pieces.peek().is_none()));
        stream.extend_from_slice(&size.to_le_bytes());
        stream.extend_from_slice(&(!size).to_le_bytes());
        stream.extend_from_slice(piece);
    }
    stream.extend_from_slice(&checksum(bytes).to_le_bytes());
    stream.extend_from_slice(&length(bytes.len()).to_le_bytes());
    stream
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("files of tests are small")
}

/// The checksum of zip archives.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_zip_archives() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }
}
