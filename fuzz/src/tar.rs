//! Archives that get past the first look: a tar header has a checksum that no chance hits.

const BLOCK_BYTES: usize = 512;

/// An archive from the bytes of a fuzzer. The first of them says how the others are meant: as an archive, as one with wrong
/// checksums, or as orders of what to put into one. `names` are parts of the paths that orders use.
pub(crate) fn archive(bytes: &[u8], names: &[&[u8]]) -> Vec<u8> {
    let Some((kind, rest)) = bytes.split_first() else { return Vec::new() };
    match kind % 4 {
        0 => rest.to_vec(),
        1 => repaired(rest.to_vec()),
        _ => ordered(rest, names),
    }
}

/// A header of an entry.
pub fn header(letter: u8, path: &[u8], link: &[u8], size: u64, mode: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
    put(0, &path[..path.len().min(100)]);
    put(100, format!("{:07o}", mode & 0o777_7777).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", size & 0o777_7777_7777).as_bytes());
    put(136, b"00000000001");
    put(156, &[letter]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    seal(&mut block);
    block
}

/// Adds an entry with its data.
pub fn entry(archive: &mut Vec<u8>, letter: u8, path: &[u8], link: &[u8], data: &[u8]) {
    archive.extend_from_slice(&header(letter, path, link, data.len() as u64, 0o644));
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// A line of an extended header.
pub fn line(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| *length == rest + length.to_string().len()).expect("there is one");
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// Sets the checksum of every header, found by the sizes of those before.
fn repaired(mut archive: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK_BYTES) {
        at += BLOCK_BYTES;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        seal(block);
        let digits = block[124..136].split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 8).ok());
        let has_data = matches!(block[156], b'0' | 0 | b'7' | b'x' | b'g' | b'L' | b'K');
        at += size.filter(|_| has_data).unwrap_or(0).min(archive.len()).next_multiple_of(BLOCK_BYTES);
    }
    archive
}

/// Bytes, and zeros after their end.
struct Orders<'a>(std::slice::Iter<'a, u8>);

impl Orders<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// A path of some of the names.
    fn path(&mut self, names: &[&[u8]]) -> Vec<u8> {
        let count = self.byte() % 4 + 1;
        let parts: Vec<&[u8]> = (0..count).map(|_| names[usize::from(self.byte()) % names.len()]).collect();
        parts.join(&b'/')
    }
}

fn ordered(orders: &[u8], names: &[&[u8]]) -> Vec<u8> {
    const LETTERS: &[u8; 16] = b"0000055521166xL3";
    let mut orders = Orders(orders.iter());
    let mut archive = Vec::new();
    while !orders.0.as_slice().is_empty() {
        let letter = LETTERS[usize::from(orders.byte() % 16)];
        match letter {
            b'L' => {
                let path = orders.path(names);
                entry(&mut archive, b'L', b"long", b"", &path);
            }
            b'x' => extended(&mut archive, &mut orders, names),
            letter => {
                let (path, link, data) = (orders.path(names), orders.path(names), usize::from(orders.byte()));
                let mode = u64::from(orders.byte()) << 4 | 0o7;
                let data = if letter == b'0' { vec![b'd'; data] } else { Vec::new() };
                archive.extend_from_slice(&header(letter, &path, &link, data.len() as u64, mode));
                archive.extend_from_slice(&data);
                archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
            }
        }
    }
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

fn extended(archive: &mut Vec<u8>, orders: &mut Orders<'_>, names: &[&[u8]]) {
    let mut lines = Vec::new();
    for _ in 0..orders.byte() % 4 {
        let number = (u64::from(orders.byte()) << (orders.byte() % 64)).to_string();
        let path = orders.path(names);
        match orders.byte() % 12 {
            0 => lines.extend(line(b"path", &path)),
            1 => lines.extend(line(b"linkpath", &path)),
            2 => lines.extend(line(b"size", number.as_bytes())),
            3 => lines.extend(line(b"uid", number.as_bytes())),
            4 => lines.extend(line(b"mtime", format!("-{number}.25").as_bytes())),
            5 => lines.extend(line(b"SCHILY.xattr.user.a", &path)),
            6 => lines.extend(line(b"SCHILY.xattr.user.overlay.redirect", &path)),
            7 => lines.extend(line(b"SCHILY.xattr.security.capability", &path)),
            8 => lines.extend(line(b"SCHILY.xattr.trusted.overlay.opaque", b"y")),
            _ => {
                for (key, value) in [(b"major".as_slice(), "1"), (b"minor", "0"), (b"realsize", &number)] {
                    lines.extend(line(&[b"GNU.sparse.", key].concat(), value.as_bytes()));
                }
                lines.extend(line(b"GNU.sparse.name", &path));
                entry(archive, b'x', b"extended", b"", &lines);
                let mut map = format!("1\n{}\n3\n", orders.byte()).into_bytes();
                map.resize(BLOCK_BYTES, 0);
                map.extend_from_slice(b"abc");
                entry(archive, b'0', b"sparse", b"", &map);
                return;
            }
        }
    }
    entry(archive, b'x', b"extended", b"", &lines);
}
