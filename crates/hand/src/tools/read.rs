//! `read`: text as it is, a range of its lines, or an image, a PDF or a notebook as a model can take it.
//!
//! What a file is shows in its first bytes, not in its name: an image block whose bytes are no image would make the
//! model's API refuse the whole conversation from then on.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Block;
use super::Outcome;
use super::Source;
use super::file;
use super::input::Input;
use super::notebook;
use crate::limits::IMAGE_BASE64_BYTES_MAX;
use crate::limits::NOTEBOOK_BYTES_MAX;
use crate::limits::PDF_BYTES_MAX;
use crate::limits::READ_BYTES_MAX;
use crate::place::Place;

const CHUNK_BYTES: usize = 64 << 10;
const PDF: &str = "application/pdf";

/// Runs it.
pub(super) fn run(input: &mut Input<'_>, place: &Place) -> Result<Outcome, String> {
    let given = input.filled_text("file_path")?;
    let range = input.optional_range("view_range")?;
    let path = file::locate(place, &given);
    let (mut file, metadata) = file::open("read", &given, &path)?;
    if let Some(media_type) = media_type(&mut file, &given)? {
        if range.is_some() {
            return Err("read: view_range is not supported for image/PDF files".to_owned());
        }
        return media(file, metadata.len(), media_type, &given);
    }
    let bytes = if is_notebook(&path) && metadata.len() <= NOTEBOOK_BYTES_MAX {
        let bytes = whole(file, &given)?;
        match (notebook::render(&bytes), range) {
            (Some(text), None) => return Ok(Outcome::text(text)),
            (Some(text), Some(range)) => lines(text.as_bytes(), &given, range)?,
            (None, Some(range)) => lines(bytes.as_slice(), &given, range)?,
            (None, None) if metadata.len() > READ_BYTES_MAX => return Err(too_large(&given, metadata.len())),
            (None, None) => bytes,
        }
    } else if let Some(range) = range {
        lines(file, &given, range)?
    } else if metadata.len() > READ_BYTES_MAX {
        return Err(too_large(&given, metadata.len()));
    } else {
        whole(file, &given)?
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Outcome::text(text)),
        Err(_) => Err(format!(
            "read: {given}: not valid UTF-8 text (binary files are only supported for image/PDF extensions)"
        )),
    }
}

fn too_large(given: &str, bytes: u64) -> String {
    format!(
        "read: {given} is {bytes} bytes, exceeds {READ_BYTES_MAX}-byte limit. \
         Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500]."
    )
}

fn is_notebook(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ipynb"))
}

fn whole(file: File, given: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Files of /proc say that they are empty, and one can grow while it is read.
    let mut bounded = file.take(NOTEBOOK_BYTES_MAX);
    bounded.read_to_end(&mut bytes).map_err(|error| file::complain("read", given, &error))?;
    Ok(bytes)
}

fn media(file: File, bytes: u64, media_type: &'static str, given: &str) -> Result<Outcome, String> {
    let limit = if media_type == PDF { PDF_BYTES_MAX } else { IMAGE_BASE64_BYTES_MAX / 4 * 3 };
    if bytes > limit {
        return Err(format!(
            "read: {given} is {bytes} bytes, exceeds {limit}-byte limit for image/PDF files."
        ));
    }
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content).map_err(|error| file::complain("read", given, &error))?;
    let source = Source { media_type, data: STANDARD.encode(content) };
    let block = if media_type == PDF { Block::Document { source } } else { Block::Image { source } };
    Ok(Outcome { content: vec![block], is_error: false })
}

/// What the first bytes say; the file is back at its beginning afterwards.
fn media_type(file: &mut File, given: &str) -> Result<Option<&'static str>, String> {
    let mut head = Vec::new();
    let read = file.take(16).read_to_end(&mut head).and_then(|_| file.rewind());
    read.map_err(|error| file::complain("read", given, &error))?;
    let media_type = match head.as_slice() {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', b'-', ..] => PDF,
        _ => return Ok(None),
    };
    Ok(Some(media_type))
}

/// Lines `first` to `last`, counted from one, of a text that may be far too large as a whole.
fn lines(mut reader: impl Read, given: &str, (first, last): (i64, i64)) -> Result<Vec<u8>, String> {
    let start = u64::try_from(first.saturating_sub(1)).unwrap_or(0);
    let end = u64::try_from(last).ok().filter(|end| *end > 0).unwrap_or(u64::MAX);
    let mut selected = Vec::new();
    let mut line = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    while line < end && start < end {
        let count = reader.read(&mut chunk).map_err(|error| file::complain("read", given, &error))?;
        if count == 0 {
            break;
        }
        for piece in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
            if (start..end).contains(&line) {
                selected.extend_from_slice(piece);
            }
            line += u64::from(piece.ends_with(b"\n"));
        }
        if selected.len() as u64 > READ_BYTES_MAX {
            return Err(over_limit(given, (first, last), end - start == 1));
        }
    }
    // The break after the last line belongs to what follows it.
    if line >= end && selected.last() == Some(&b'\n') {
        selected.pop();
    }
    Ok(selected)
}

fn over_limit(given: &str, (first, last): (i64, i64), is_one_line: bool) -> String {
    if is_one_line {
        return format!(
            "read: line {first} of {given} alone exceeds {READ_BYTES_MAX}-byte limit. \
             The read tool cannot return part of a line, so view_range cannot narrow this further."
        );
    }
    format!(
        "read: view_range [{first}, {last}] of {given} exceeds {READ_BYTES_MAX}-byte limit. \
         Narrow the view_range to read a smaller portion."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_one_and_include_both_ends() {
        let read = |range| String::from_utf8(lines("a\nb\nc\n".as_bytes(), "f", range).unwrap()).unwrap();
        assert_eq!(read((1, 1)), "a");
        assert_eq!(read((2, 3)), "b\nc");
        assert_eq!(read((-5, 2)), "a\nb");
        assert_eq!(read((2, 0)), "b\nc\n");
        assert_eq!(read((2, -1)), "b\nc\n");
        assert_eq!(read((3, 2)), "");
        assert_eq!(read((9, 12)), "");
        assert_eq!(String::from_utf8(lines("a\nb".as_bytes(), "f", (2, 2)).unwrap()).unwrap(), "b");
    }
}
