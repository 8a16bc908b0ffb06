//! Redirects: where they lead and what is sent there. The next request is decided about like a first one.

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::header;

use super::ClientError;
use super::Request;

/// Headers that only the origin they were meant for may see, besides those marked as sensitive.
const CREDENTIALS: [header::HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
/// Headers that describe a body.
const BODY_HEADERS: [header::HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];

/// Turns a request into the one that a response redirects to. False when the response is no redirect.
pub(super) fn follow(
    request: &mut Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<bool, ClientError> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = headers.get(header::LOCATION).filter(|_| is_redirect) else { return Ok(false) };
    let refuse =
        |reason: &str| ClientError::Redirect { host: request.host_text(), reason: reason.to_owned() };
    let location = location.to_str().map_err(|_| refuse("its Location is not text"))?;
    let mut url = request.url.join(location).map_err(|_| refuse("its Location is not a URL"))?;
    url.set_fragment(None);
    if request.url.scheme() == "https" && url.scheme() != "https" {
        return Err(refuse("it leads from https to something else"));
    }
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    let is_same_origin = url.origin() == request.url.origin();
    if !is_same_origin && !becomes_get && !request.body.is_empty() {
        return Err(refuse("it would send the body of the request to another origin"));
    }
    if becomes_get {
        request.method = Method::GET;
        request.body = Bytes::new();
        for name in BODY_HEADERS {
            request.headers.remove(name);
        }
    }
    if !is_same_origin {
        let kept = request
            .headers
            .iter()
            .filter(|(name, value)| !value.is_sensitive() && !CREDENTIALS.contains(name));
        request.headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    request.headers.remove(header::HOST);
    request.url = url;
    Ok(true)
}
