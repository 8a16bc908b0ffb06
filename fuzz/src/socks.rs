//! SOCKS version 5.

use std::net::IpAddr;

use egress::socks::SocksError;
use egress::socks::parse_greeting;
use egress::socks::parse_request;

const GREETING_BYTES_MAX: usize = 2 + 255;
const REQUEST_BYTES_MAX: usize = 4 + 1 + 255 + 2;

/// Once there is an answer, more bytes do not change it; there is one within the format's bounds; and a request says what
/// stands in it.
pub fn check(bytes: &[u8]) {
    stable(bytes, parse_greeting, GREETING_BYTES_MAX);
    if let Ok((_, length)) = parse_greeting(bytes) {
        assert!((2..=GREETING_BYTES_MAX.min(bytes.len())).contains(&length));
    }
    stable(bytes, parse_request, REQUEST_BYTES_MAX);
    if let Ok((request, length)) = parse_request(bytes) {
        assert!((7..=REQUEST_BYTES_MAX.min(bytes.len())).contains(&length));
        assert_eq!(request.port.to_be_bytes(), bytes[length - 2..length]);
        let named = &bytes[4..length - 2];
        match bytes[3] {
            3 => assert_eq!(request.host.as_bytes(), &named[1..]),
            1 => assert_eq!(request.host.parse().ok(), <[u8; 4]>::try_from(named).ok().map(IpAddr::from)),
            _ => assert_eq!(request.host.parse().ok(), <[u8; 16]>::try_from(named).ok().map(IpAddr::from)),
        }
    }
}

fn stable<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, SocksError>,
    bytes_max: usize,
) {
    let whole = parse(bytes);
    assert!(whole != Err(SocksError::Incomplete) || bytes.len() < bytes_max, "it never ends");
    for end in 0..bytes.len().min(bytes_max + 1) {
        match parse(&bytes[..end]) {
            Err(SocksError::Incomplete) => {}
            answer => {
                assert_eq!(answer, whole, "after {end} bytes");
                return;
            }
        }
    }
}
