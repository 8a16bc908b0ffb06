//! The headers of a head, taken apart as plainly as can be: what another reader would see.

use egress::body::Framing;

/// Names in lower case and values of a head that ends in an empty line. Fails when a line is not as it must be.
pub(crate) fn headers(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = head.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let mut rest = lines;
    let mut found = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        rest = &rest[end + 2..];
        let line = &rest[..rest.windows(2).position(|two| two == b"\r\n").unwrap_or(rest.len())];
        assert!(!line.iter().any(|byte| b"\r\n\0".contains(byte)), "a line holds another one");
        let colon = line.iter().position(|byte| *byte == b':').expect("a header has a colon");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()), "a name is none");
        let start = value.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(start, |last| last + 1);
        found.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value[start..end].to_vec()));
    }
    found
}

/// The values of the headers of that name.
pub(crate) fn values<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a [u8]> {
    headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_slice()).collect()
}

/// Fails unless the headers tell the end of the body as `framing` does, in one way, and without anything that could be read
/// in another.
pub(crate) fn check_framing(headers: &[(String, Vec<u8>)], framing: Framing) {
    let lengths = values(headers, "content-length");
    let codings = values(headers, "transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "the end is told twice");
    for length in &lengths {
        assert!(length.iter().all(u8::is_ascii_digit) && !length.is_empty(), "a length is no number");
    }
    for coding in &codings {
        assert!(coding.eq_ignore_ascii_case(b"chunked"), "a coding is another one");
    }
    let length = lengths.first().and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
    match framing {
        Framing::None => assert!(length.unwrap_or(0) == 0 && codings.is_empty()),
        Framing::Length(wanted) => assert_eq!(length, Some(wanted)),
        Framing::Chunked => assert_eq!(codings.len(), 1),
        Framing::UntilClose => assert!(lengths.is_empty() && codings.is_empty()),
    }
}
