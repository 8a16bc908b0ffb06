//! What is in a tar archive: names, kinds, and where the data is. Nothing is unpacked.
//!
//! Read are the POSIX, GNU and older formats. Every number is bounded, and no name is used for anything but comparing.

use std::io;
use std::io::Read;
use std::ops::ControlFlow;

const BLOCK_BYTES: u64 = 512;
/// Bytes of an extended header or a long name.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Headers of one archive: more than any image has files.
const HEADERS_MAX: u64 = 20_000_000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name without `./` before or `/` behind.
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File {
        /// Where its data begins.
        offset: u64,
        /// Bytes of data.
        bytes: u64,
    },
    /// The same as another, by its name in the archive.
    HardLink(String),
    /// The same as another, by the way from this one's folder.
    Link(String),
    Other,
}

/// Something that a tar can be read from, with a way to pass over data.
pub(super) trait Input: Read {
    /// Passes over so many bytes.
    fn pass(&mut self, bytes: u64) -> io::Result<()>;
}

#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    bytes: Option<u64>,
}

/// Shows `visit` every entry until it has seen enough.
pub(super) fn scan(
    input: &mut dyn Input,
    visit: &mut dyn FnMut(Entry) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut at = 0;
    let mut extended = Extended::default();
    for _ in 0..HEADERS_MAX {
        let Some(block) = header(input, at)? else { return Ok(()) };
        at += BLOCK_BYTES;
        let bytes = number(&block[124..136]).ok_or_else(|| broken("a size is no number"))?;
        match block[156] {
            b'x' => extended = Extended::parse(&extension(input, bytes, &mut at)?)?,
            b'g' => drop(extension(input, bytes, &mut at)?),
            b'L' => extended.name = Some(until_nul(&extension(input, bytes, &mut at)?).to_vec()),
            b'K' => extended.link = Some(until_nul(&extension(input, bytes, &mut at)?).to_vec()),
            letter => {
                let Extended { name, link, bytes: long } = std::mem::take(&mut extended);
                let name = text(&name.unwrap_or_else(|| plain_name(&block)))?;
                let link = link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
                let (kind, data) = match letter {
                    b'0' | b'\0' | b'7' | b'S' => {
                        let bytes = long.unwrap_or(bytes);
                        (Kind::File { offset: at, bytes }, bytes)
                    }
                    b'1' => (Kind::HardLink(text(&link)?), 0),
                    b'2' => (Kind::Link(text(&link)?), 0),
                    b'3'..=b'6' => (Kind::Other, 0),
                    _ => return Err(broken("an entry is of an unknown kind")),
                };
                let name = name.trim_start_matches("./").trim_end_matches('/').to_owned();
                if visit(Entry { name, kind })?.is_break() {
                    return Ok(());
                }
                let data = data
                    .checked_next_multiple_of(BLOCK_BYTES)
                    .ok_or_else(|| broken("a size is too large"))?;
                input.pass(data)?;
                at = at.checked_add(data).ok_or_else(|| broken("a size is too large"))?;
            }
        }
    }
    Err(broken("it has too many entries"))
}

fn header(input: &mut dyn Input, at: u64) -> io::Result<Option<[u8; 512]>> {
    let mut block = [0; 512];
    let mut filled = 0;
    while filled < block.len() {
        match input.read(&mut block[filled..])? {
            // Some programs leave out the end mark.
            0 if filled == 0 && at > 0 => return Ok(None),
            0 => return Err(broken(if at == 0 { "it is no tar archive" } else { "it ends early" })),
            count => filled += count,
        }
    }
    if block == [0; 512] {
        return Ok(None);
    }
    let is_sum = |value: fn(u8) -> i64| {
        let bytes = block.iter().enumerate();
        let sum: i64 = bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { value(*byte) }).sum();
        number(&block[148..156]).and_then(|said| i64::try_from(said).ok()) == Some(sum)
    };
    // Some old programs took the bytes for signed.
    if is_sum(i64::from) || is_sum(|byte| i64::from(byte.cast_signed())) {
        Ok(Some(block))
    } else {
        Err(broken(if at == 0 { "it is no tar archive" } else { "a header is broken" }))
    }
}

fn extension(input: &mut dyn Input, bytes: u64, at: &mut u64) -> io::Result<Vec<u8>> {
    if bytes > EXTENSION_BYTES_MAX {
        return Err(broken("an extended header is too large"));
    }
    let padded = bytes.next_multiple_of(BLOCK_BYTES);
    let mut data = vec![0; usize::try_from(padded).map_err(|_| broken("an extended header is too large"))?];
    input.read_exact(&mut data)?;
    data.truncate(usize::try_from(bytes).map_err(|_| broken("an extended header is too large"))?);
    *at += padded;
    Ok(data)
}

impl Extended {
    /// Lines of `LENGTH KEY=VALUE`.
    fn parse(mut rest: &[u8]) -> io::Result<Self> {
        let mut extended = Self::default();
        while !rest.is_empty() && rest[0] != 0 {
            let line = next_line(rest).ok_or_else(|| broken("an extended header is broken"))?;
            rest = &rest[line.len()..];
            let mut parts = line[..line.len() - 1]
                .splitn(2, |byte| *byte == b' ')
                .nth(1)
                .unwrap_or_default()
                .splitn(2, |byte| *byte == b'=');
            let (key, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            match key {
                b"path" => extended.name = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => {
                    let bytes = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                    extended.bytes = Some(bytes.ok_or_else(|| broken("a size is no number"))?);
                }
                _ => {}
            }
        }
        Ok(extended)
    }
}

fn next_line(rest: &[u8]) -> Option<&[u8]> {
    let digits = rest.split(|byte| *byte == b' ').next()?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let line = rest.get(..length)?;
    (length > digits.len() + 1 && line.ends_with(b"\n")).then_some(line)
}

fn plain_name(block: &[u8; 512]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // GNU headers have other things there.
    let has_prefix = &block[257..263] == b"ustar\0" && !prefix.is_empty();
    if has_prefix { [prefix, name].join(&b'/') } else { name.to_vec() }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Names that are no text are none of an image's; files of a root file system may have them.
fn text(bytes: &[u8]) -> io::Result<String> {
    if bytes.contains(&0) {
        Err(broken("a name has a zero in it"))
    } else {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// A number of a header: octal digits between blanks, or binary when the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |value, byte| {
            value.checked_mul(256).and_then(|value| value.checked_add((*byte).into()))
        });
    }
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).and_then(|value| value.checked_add((byte - b'0').into())),
        _ => None,
    })
}

fn broken(complaint: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, complaint.to_owned())
}
