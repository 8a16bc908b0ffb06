//! Heads of requests.

use egress::http::Authority;
use egress::http::Form;
use egress::http::HeadError;
use egress::http::Request;
use egress::http::parse_request;
use egress::limits::HEAD_BYTES_MAX;
use egress::policy::Host;

use crate::http_lines;

/// What a `Host` header that is no text becomes.
const NO_TEXT: &str = "\u{fffd}";

/// What is passed on means to the next reader what it meant here: method, target, host, and where the body ends.
pub fn check(bytes: &[u8]) {
    let request = match parse_request(bytes) {
        Ok(request) => request,
        Err(error) => {
            assert!(error != HeadError::Incomplete || bytes.len() < HEAD_BYTES_MAX, "it never ends");
            return;
        }
    };
    let Request { method, form, target, host, framing, keeps_alive, is_upgrade, forwarded, length } =
        &request;
    assert!(*length <= bytes.len() && bytes[..*length].ends_with(b"\r\n\r\n"));
    assert_eq!(parse_request(&bytes[..*length]).as_ref(), Ok(&request), "what follows shows");
    assert_eq!(parse_request(&bytes[..*length - 1]), Err(HeadError::Incomplete));

    let headers = http_lines::headers(forwarded);
    http_lines::check_framing(&headers, *framing);
    let hosts = http_lines::values(&headers, "host");
    assert!(hosts.len() <= 1);
    let named = match form {
        Form::Absolute(authority) => Some(authority),
        Form::Connect(_) | Form::Origin => host.as_ref(),
    };
    // One that is no text stands for no host at all, and is refused where it is to be reached.
    let is_text = named.is_none_or(|named| named.host != NO_TEXT);
    assert!(is_text || Host::parse(NO_TEXT).is_err());
    if let Some(Authority { host, port }) = named.filter(|_| is_text) {
        let seen =
            String::from_utf8_lossy(hosts.first().expect("the host is passed on")).to_ascii_lowercase();
        let plain = host.to_ascii_lowercase();
        let with = |port: u16| format!("{plain}:{port}");
        let is_same = match port {
            Some(80) | None => seen == plain || has_port(&seen, &plain, 80),
            Some(port) => seen == with(*port) || has_port(&seen, &plain, *port),
        };
        assert!(is_same, "{seen:?} is passed on instead of {host:?} and {port:?}");
    }
    for hop in ["keep-alive", "proxy-connection", "proxy-authorization"] {
        assert!(http_lines::values(&headers, hop).is_empty(), "{hop} is passed on");
    }
    let connections = http_lines::values(&headers, "connection");
    assert!(connections.len() <= 1 && (*is_upgrade || http_lines::values(&headers, "upgrade").is_empty()));

    let again = parse_request(forwarded).expect("what was written here is well-formed");
    assert_eq!((&again.method, &again.target, again.framing), (method, target, *framing));
    assert_eq!((again.keeps_alive, again.is_upgrade), (*keeps_alive || *is_upgrade, *is_upgrade));
    assert_eq!(again.length, forwarded.len());
    // Where a host had to be added, the order is another one.
    let sorted = |mut headers: Vec<(String, Vec<u8>)>| {
        headers.sort();
        headers
    };
    assert_eq!(sorted(http_lines::headers(&again.forwarded)), sorted(headers.clone()));
    if !matches!(form, Form::Connect(_)) {
        assert_eq!(again.form, Form::Origin);
    }
}

/// Whether it is that host with that port, however many zeros are before it.
fn has_port(seen: &str, host: &str, port: u16) -> bool {
    let Some(digits) = seen.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) else { return false };
    digits.parse() == Ok(port)
}
