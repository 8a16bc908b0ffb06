//! Success: JSON that is ready to go.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use serde::Serialize;

use crate::error::Failure;

/// Result of a handler.
pub(crate) type Answer = Result<Response, Failure>;

/// A 200 with a JSON text.
pub(crate) fn json(body: String) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 200 with a value as JSON.
pub(crate) fn of(value: &impl Serialize) -> Response {
    json(serde_json::to_string(value).expect("plain data always becomes JSON"))
}
