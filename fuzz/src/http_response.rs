//! Heads of responses.

use egress::body::Framing;
use egress::http::HeadError;
use egress::http::parse_response;
use egress::limits::HEAD_BYTES_MAX;

use crate::http_lines;

/// A head is passed on as it is, so the next reader must find the end of the body where it was found here. The first byte
/// says what the method was.
pub fn check(bytes: &[u8]) {
    let Some((method, bytes)) = bytes.split_first() else { return };
    let method = if method % 8 == 0 { "HEAD" } else { "GET" };
    let response = match parse_response(bytes, method) {
        Ok(response) => response,
        Err(error) => {
            assert!(error != HeadError::Incomplete || bytes.len() < HEAD_BYTES_MAX, "it never ends");
            return;
        }
    };
    let head = &bytes[..response.length];
    assert_eq!(parse_response(head, method).as_ref(), Ok(&response), "what follows shows");
    assert_eq!(parse_response(&head[..head.len() - 1], method), Err(HeadError::Incomplete));
    let headers = http_lines::headers(head);
    let has_body = method != "HEAD" && !matches!(response.status, 100..200 | 204 | 304);
    if has_body {
        http_lines::check_framing(&headers, response.framing);
        let is_told = headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        assert_eq!(response.framing == Framing::UntilClose, !is_told);
    } else {
        assert_eq!(response.framing, Framing::None);
        // Even where there is none: another reader may not know the method.
        assert!(http_lines::values(&headers, "content-length").len() <= 1);
    }
    assert!(!response.keeps_alive || response.framing != Framing::UntilClose);
}
