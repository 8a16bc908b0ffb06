//! The first message of a TLS client.

use egress::hello::Hello;
use egress::hello::HelloError;
use egress::hello::parse;
use egress::limits::HELLO_BYTES_MAX;

/// A record as empty as can be, with its header.
const RECORD: [u8; 6] = [22, 3, 1, 0, 1, 0];
/// Bytes after which there must be an answer: a hello in records of one byte, and one large record that is not whole.
const ANSWER_BYTES_MAX: usize = RECORD.len() * (HELLO_BYTES_MAX + 1) + 5 + 16 * 1024;
/// Longest input of which every beginning is looked at.
const EVERY_BYTES_MAX: usize = 300;

/// Once there is an answer, more bytes do not change it; and there is one at last.
pub fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    let step = if bytes.len() <= EVERY_BYTES_MAX { 1 } else { bytes.len() / 50 };
    for end in (0..bytes.len()).step_by(step) {
        match parse(&bytes[..end]) {
            Err(HelloError::Incomplete) => {}
            answer => {
                assert_eq!(answer, whole, "after {end} bytes");
                return;
            }
        }
    }
    if let Ok(Hello { server_name: Some(name), has_encrypted_hello: _ }) = &whole {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(
            bytes.windows(name.len()).any(|window| window == name.as_bytes()) || bytes.len() > name.len() + 5
        );
    }
    // Rarely: it is long.
    if whole == Err(HelloError::Incomplete) && bytes.len() % 32 == 11 {
        let filler =
            RECORD.iter().copied().cycle().take(ANSWER_BYTES_MAX - bytes.len().min(ANSWER_BYTES_MAX));
        let long: Vec<u8> = bytes.iter().copied().chain(filler).collect();
        assert_ne!(parse(&long), Err(HelloError::Incomplete), "it never ends");
    }
}
