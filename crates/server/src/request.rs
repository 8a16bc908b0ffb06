//! The frame of every request: its id, its body, its metrics, and the answer when its handler fails or panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::errors::Error;
use api::ids::RequestId;
use api::lists;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::CONTENT_ENCODING;
use axum::http::header::CONTENT_LENGTH;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::StreamExt;
use tracing::Instrument;

use crate::Server;
use crate::auth::Resolved;
use crate::auth::WORKSPACE;
use crate::error;
use crate::error::Failure;
use crate::limits::BODY_READ_MAX;
use crate::telemetry;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Runs a request: names it, catches its panic, renders its failure, and counts it.
pub(crate) async fn run(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let id: RequestId = server.ids.make();
    let started = server.clock.now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let resolved = Resolved::default();
    request.extensions_mut().insert(resolved.clone());

    let span = tracing::error_span!("request", request.id = %id);
    let response = guarded(&id, next.run(request)).instrument(span).await;
    let mut response = error::rendered(response, &id);

    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from_str(id.as_str()).expect("an id is plain text"));
    if let Some(workspace) = resolved.0.get().and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        headers.insert(WORKSPACE, workspace);
    }
    let micros = server.clock.now().0.saturating_sub(started.0);
    count(&method, route.as_ref(), &response, micros);
    response
}

/// A panic is this request's alone: it becomes a 500, is logged and counted.
async fn guarded(id: &RequestId, handler: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let what = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let what = what.unwrap_or("(no message)");
            tracing::error!(panic = what, "a handler panicked in request {id}: {what}");
            metrics::counter!(telemetry::PANICS).increment(1);
            Failure::internal(error::INTERNAL).into_response()
        }
    }
}

fn count(method: &Method, route: Option<&MatchedPath>, response: &Response, micros: i64) {
    // Unknown methods and paths are the client's to choose: they share one label each.
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    };
    let route = route.map_or_else(|| "unknown".to_owned(), |route| route.as_str().to_owned());
    let status = response.status().as_str().to_owned();
    metrics::counter!(telemetry::REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one request fit a double exactly")]
    let seconds = micros as f64 / 1e6;
    metrics::histogram!(telemetry::REQUEST_SECONDS, "method" => method, "route" => route).record(seconds);
}

/// On a route without query parameters: refuses them, for a misspelt one would be ignored otherwise.
pub(crate) struct NoQuery;

impl FromRequestParts<Arc<Server>> for NoQuery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Server>) -> Result<Self, Failure> {
        lists::parse_none(parts.uri.query())?;
        Ok(Self)
    }
}

/// A whole request body, read as UTF-8 JSON text whatever its content type says.
pub(crate) struct Body(pub(crate) Bytes);

impl FromRequest<Arc<Server>> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, Failure> {
        let latin = check_encoding(request.headers())?;
        let read = read(request, server.limits.body_bytes_max);
        let bytes = match tokio::time::timeout(BODY_READ_MAX, read).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(Error::invalid("The request body did not arrive in time")
                    .with_code("request_body_timeout")
                    .into());
            }
        };
        if latin {
            return Ok(Self(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()));
        }
        Ok(Self(bytes))
    }
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Failure> {
    let too_large = || Failure::too_large(format!("Request body exceeds the maximum of {bytes_max} bytes"));
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(too_large());
    }
    let mut frames = request.into_body().into_data_stream();
    let mut whole = match frames.next().await {
        None => return Ok(Bytes::new()),
        Some(first) => BodyBuffer::One(first.map_err(|error| cut_short(&error))?),
    };
    while let Some(frame) = frames.next().await {
        whole = whole.and(&frame.map_err(|error| cut_short(&error))?, announced);
        if whole.len() > bytes_max {
            return Err(too_large());
        }
    }
    if whole.len() > bytes_max {
        return Err(too_large());
    }
    Ok(whole.into_bytes())
}

/// Most bodies arrive in one piece and need no copy.
enum BodyBuffer {
    One(Bytes),
    Many(BytesMut),
}

impl BodyBuffer {
    fn and(self, next: &Bytes, announced: Option<usize>) -> Self {
        let mut all = match self {
            Self::Many(all) => all,
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(announced.unwrap_or(first.len() + next.len()));
                all.extend_from_slice(&first);
                all
            }
        };
        all.extend_from_slice(next);
        Self::Many(all)
    }

    fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

fn cut_short(error: &axum::Error) -> Failure {
    tracing::debug!(%error, "read a request body: {error}");
    Error::invalid("The request body ended before it was complete").into()
}

/// Refuses what we cannot read. `true` when the body is ISO-8859-1, which the original takes too.
fn check_encoding(headers: &HeaderMap) -> Result<bool, Error> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Error::invalid("content-encoding: only an uncompressed request body is accepted")
            .with_code("request_body_encoding_unsupported"));
    }
    let Some(charset) = headers.get(CONTENT_TYPE).and_then(charset) else {
        return Ok(false);
    };
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" => Ok(false),
        "iso-8859-1" => Ok(true),
        other => Err(Error::invalid(format!(
            "content-type: the character set `{other}` is not supported; send UTF-8, ISO-8859-1 or US-ASCII"
        ))
        .with_code("unsupported_charset")),
    }
}

fn charset(content_type: &HeaderValue) -> Option<String> {
    let parameters = content_type.to_str().ok()?.split(';').skip(1);
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(value: &'static str) -> HeaderMap {
        std::iter::once((CONTENT_TYPE, HeaderValue::from_static(value))).collect()
    }

    #[tokio::test]
    async fn a_panic_becomes_an_internal_error() {
        let id = RequestId::parse("req_1").unwrap();
        let response = guarded(&id, async { panic!("the roof is on fire") }).await;
        let response = error::rendered(response, &id);
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let expected = Failure::internal("Internal server error").body(&id);
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_body_is_text_in_one_of_three_character_sets() {
        assert!(!check_encoding(&HeaderMap::new()).unwrap());
        assert!(!check_encoding(&typed("text/plain")).unwrap());
        assert!(!check_encoding(&typed("application/json; charset=\"UTF-8\"")).unwrap());
        assert!(check_encoding(&typed("application/json;charset=iso-8859-1")).unwrap());
        let refused = check_encoding(&typed("application/json; charset=utf-16")).unwrap_err();
        assert_eq!(refused.code, Some("unsupported_charset"));
    }
}
