//! The wire error table: what every failure becomes for a client.
//!
//! A handler fails with [`Failure`]; it leaves as an empty response that carries the error, and `request::run` puts the
//! envelope in, because only there the request's id is known. Whatever else is refused on the way (by the router, by an
//! extractor of axum) has no such error and gets one by its status.

use std::error::Error as _;
use std::sync::Arc;

use api::errors::Error;
use api::errors::ErrorType;
use api::ids::Id;
use api::ids::Kind;
use api::ids::RequestId;
use axum::body::Body;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_LENGTH;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;

/// Tells the official clients whether to try again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// All that a client hears of a fault of ours; the log has the rest, under the request's id.
pub(crate) const INTERNAL: &str = "Internal server error";

/// Why a handler answers with an error.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self(of_store(&error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// For paths that no route has.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    Failure(Error::not_found(format!("There is no {method} {}", uri.path())))
}

/// The response with its envelope, if it is a failure; untouched otherwise.
pub(crate) fn rendered(mut response: Response, id: &RequestId) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<Arc<Error>>() {
        Some(error) => error,
        None if is_refused_by_router(&response) => Arc::new(of_status(status)),
        None => return response,
    };
    let body = error.body(id);
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(retry) = error.retry {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if retry { "true" } else { "false" }));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// Whether axum itself refused the request: our own refusals carry their error, our health routes answer 503.
fn is_refused_by_router(response: &Response) -> bool {
    response.status().is_client_error()
}

fn of_status(status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::not_found("Not found"),
        StatusCode::METHOD_NOT_ALLOWED => Error::method_not_allowed(
            "The method is not allowed here; the `allow` header names those that are",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Error::too_large("The request is too large"),
        other => Error::new(other.as_u16(), ErrorType::InvalidRequest, "The request could not be read"),
    }
}

fn of_store(error: &store::Error) -> Error {
    match error {
        store::Error::NotFound { what, id } => not_found(what, id),
        store::Error::Conflict { what, id, current: _ } => {
            Error::conflict(format!("{what} `{id}` was changed in the meantime; read it again"))
        }
        store::Error::Exists { what, id } => Error::conflict(format!("{what} `{id}` exists already")),
        store::Error::InUse { what, id, sessions } => {
            Error::conflict(format!("{what} `{id}` cannot be deleted: {sessions} session(s) refer to it"))
        }
        store::Error::Running { id } => {
            Error::invalid(format!("session `{id}` is running; interrupt it and wait until it is idle"))
        }
        store::Error::SessionEnded { id } => {
            Error::conflict(format!("session `{id}` has ended and takes no more events or changes"))
        }
        store::Error::TooLarge { op: _, what, size, max } => {
            Error::too_large(format!("{size} {what} are more than the {max} that are accepted at once"))
        }
        store::Error::Fenced { .. }
        | store::Error::Locked { .. }
        | store::Error::File { .. }
        | store::Error::Unsupported { .. }
        | store::Error::Corrupt { .. }
        | store::Error::Database { .. }
        | store::Error::Stopped { .. } => internal(error),
    }
}

/// The same words whether the object does not exist, was deleted, or belongs to another workspace.
pub(crate) fn not_found(what: &str, id: &str) -> Error {
    Error::not_found(format!("{what} `{}` was not found", api::body::excerpt(id)))
}

/// An id from a path. One of the wrong form names nothing, like one that does not exist.
pub(crate) fn id<K: Kind>(what: &str, text: &str) -> Result<Id<K>, Error> {
    Id::parse(text).ok_or_else(|| not_found(what, text))
}

/// A stored object that this program cannot read: a fault of ours.
pub(crate) fn corrupt(what: &str, id: &str, source: &serde_json::Error) -> Failure {
    tracing::error!(error = %source, "read the stored {what} {id}: {source}");
    Failure(Error::internal(INTERNAL))
}

/// A fault of ours: the whole chain into the log, nothing of it to the client.
fn internal(error: &store::Error) -> Error {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = %chain, "the store failed: {chain}");
    Error::internal(INTERNAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ids::SessionId;

    fn row(error: store::Error) -> (u16, &'static str, String, Option<bool>) {
        let Failure(error) = error.into();
        (error.status, error.kind.as_str(), error.message, error.retry)
    }

    #[test]
    fn a_store_error_becomes_what_the_client_can_act_on() {
        let id = || "agent_1".to_owned();
        let session = || SessionId::parse("sesn_1").unwrap();
        let (invalid, conflict) = ("invalid_request_error", "conflict_error");
        assert_eq!(
            row(store::Error::NotFound { what: "agent", id: id() }),
            (404, "not_found_error", "agent `agent_1` was not found".into(), None)
        );
        let (status, kind, message, retry) =
            row(store::Error::Conflict { what: "agent", id: id(), current: 3 });
        assert_eq!((status, kind, retry), (409, conflict, Some(false)), "{message}");
        let (status, kind, message, retry) = row(store::Error::Exists { what: "agent", id: id() });
        assert_eq!((status, kind, retry), (409, conflict, Some(false)), "{message}");
        let (status, kind, message, retry) =
            row(store::Error::InUse { what: "environment", id: id(), sessions: 2 });
        assert_eq!((status, kind, retry), (409, conflict, Some(false)), "{message}");
        let (status, kind, message, retry) = row(store::Error::Running { id: session() });
        assert_eq!((status, kind, retry), (400, invalid, None), "{message}");
        let (status, kind, message, retry) = row(store::Error::SessionEnded { id: session() });
        assert_eq!((status, kind, retry), (409, conflict, Some(false)), "{message}");
        let large = store::Error::TooLarge { op: "append", what: "entries", size: 9, max: 8 };
        let (status, kind, message, retry) = row(large);
        assert_eq!((status, kind, retry), (413, "request_too_large", None), "{message}");
    }

    #[test]
    fn a_fault_of_ours_tells_the_client_nothing() {
        let source = "disk full at /var/lib/secret".into();
        let error = store::Error::Database { op: "append".into(), is_unknown: false, source };
        assert_eq!(row(error), (500, "api_error", "Internal server error".into(), None));
    }
}
