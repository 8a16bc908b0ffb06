//! Where the body of an HTTP/1 message ends.

use egress::body::Body;
use egress::body::Framing;

/// The first byte says how the end is told, the second how the others are cut: that does not matter. What was taken for a
/// whole body is one to a reader that was written without an eye on the first.
pub fn check(bytes: &[u8]) {
    let [kind, cut, bytes @ ..] = bytes else { return };
    let framing = match kind % 8 {
        0 => Framing::None,
        1 => Framing::UntilClose,
        2 => Framing::Length((kind / 8).into()),
        3 => Framing::Length(u64::MAX),
        _ => Framing::Chunked,
    };
    let whole = follow(framing, bytes, bytes.len().max(1));
    assert_eq!(whole, follow(framing, bytes, usize::from(cut % 16) + 1), "the cuts show");
    let Some((taken, is_done)) = whole else { return };
    assert!(taken <= bytes.len());
    assert!(is_done || taken == bytes.len(), "bytes are left over though the body goes on");
    match framing {
        Framing::None => assert!(is_done && taken == 0),
        Framing::UntilClose => assert!(!is_done),
        Framing::Length(length) => assert_eq!(
            (is_done, taken as u64),
            (length <= bytes.len() as u64, length.min(bytes.len() as u64))
        ),
        Framing::Chunked if is_done => assert_eq!(chunks(&bytes[..taken]), Some(b"".as_slice())),
        Framing::Chunked => {}
    }
}

/// How much belongs to the body, and whether all of it was there; nothing if it is broken.
fn follow(framing: Framing, bytes: &[u8], piece: usize) -> Option<(usize, bool)> {
    let mut body = Body::new(framing);
    let mut taken = 0;
    for piece in bytes.chunks(piece) {
        let count = body.advance(piece).ok()?;
        taken += count;
        assert!(count == piece.len() || body.is_done());
    }
    assert!(body.may_end() || !body.is_done());
    if body.is_done() {
        assert_eq!(body.advance(b"more"), Ok(0));
    }
    Some((taken, body.is_done()))
}

/// Reads chunks and trailers; answers what follows them.
fn chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let size = line(&mut bytes)?;
        let digits = size.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            while !line(&mut bytes)?.is_empty() {}
            return Some(bytes);
        }
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 2..];
    Some(line)
}
