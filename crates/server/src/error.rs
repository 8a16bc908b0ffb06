//! The wire error table: what every failure becomes for a client.
//!
//! A handler fails with [`Failure`]; it leaves as an empty response that carries the error, and `request::run` puts the
//! envelope in, because only there the request's id is known. Whatever else is refused on the way (by the router, by an
//! extractor of axum) has no such error and gets one by its status.

use std::sync::Arc;

use api::errors::Error;
use api::errors::ErrorType;
use api::errors::envelope;
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

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: ErrorType,
    message: String,
    /// `error.details.error_code`.
    code: Option<&'static str>,
    /// The header `x-should-retry`; `None` leaves it to the client.
    retry: Option<bool>,
}

impl Failure {
    fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { status: status(kind), kind, message: message.into(), code: None, retry: None }
    }

    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Authentication, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Permission, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorType::NotFound, message)
    }

    /// Sending the same again does not help, and the answer says so.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Conflict, message).with_retry(false)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorType::RequestTooLarge, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Api, message)
    }

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Overloaded, message)
    }

    /// The same error with the header `x-should-retry`.
    pub(crate) fn with_retry(self, retry: bool) -> Self {
        Self { retry: Some(retry), ..self }
    }

    /// The response body.
    pub(crate) fn body(&self, request: &RequestId) -> String {
        envelope(self.kind, &self.message, self.code, request)
    }
}

/// Status of each type of error.
fn status(kind: ErrorType) -> StatusCode {
    match kind {
        ErrorType::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorType::Authentication => StatusCode::UNAUTHORIZED,
        ErrorType::Billing => StatusCode::PAYMENT_REQUIRED,
        ErrorType::Permission => StatusCode::FORBIDDEN,
        ErrorType::NotFound => StatusCode::NOT_FOUND,
        ErrorType::Conflict => StatusCode::CONFLICT,
        ErrorType::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorType::RateLimit => StatusCode::TOO_MANY_REQUESTS,
        ErrorType::Api => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorType::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorType::Overloaded => StatusCode::from_u16(529).expect("a status of three digits"),
    }
}

impl From<Error> for Failure {
    fn from(Error { message, code }: Error) -> Self {
        Self { code, ..Self::new(ErrorType::InvalidRequest, message) }
    }
}

impl From<harness::Error> for Failure {
    fn from(error: harness::Error) -> Self {
        use harness::Error as E;
        let message = error.to_string();
        match error {
            E::Invalid(error) => error.into(),
            E::NotFound { what, id } => not_found(what, &id),
            E::VersionNotFound { id: _, version: _ } => Self::not_found(message),
            E::ModelNotServed { field: _, model: _ }
            | E::Running { attempt: _, id: _ }
            | E::NotIdle { id: _, status: _ } => Self::new(ErrorType::InvalidRequest, message),
            E::EnvironmentArchived { id: _ } => {
                Error::invalid(message).with_code("environment_archived").into()
            }
            E::Ended { id: _ } => Self::conflict(message),
            E::Session { attempt, ref id, source: _ } => {
                let message = format!("the server could not {attempt} session `{id}`; see its log");
                Self { message, ..fault(&error) }
            }
            E::Corrupt { .. } => fault(&error),
            E::Store(error) => error.into(),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        match &error {
            E::NotFound { what, id } => not_found(what, id),
            E::Conflict { what, id, current: _ } => {
                Self::conflict(format!("{what} `{id}` was changed in the meantime; read it again"))
            }
            E::Exists { what, id } => Self::conflict(format!("{what} `{id}` exists already")),
            E::InUse { what, id, sessions } => {
                Self::conflict(format!("{what} `{id}` cannot be deleted: {sessions} session(s) refer to it"))
            }
            E::Running { id } => {
                let message = format!("session `{id}` is running; interrupt it and wait until it is idle");
                Self::new(ErrorType::InvalidRequest, message)
            }
            // The harness says which events they were; whoever appends without it gets the store's words.
            E::NotWaiting { call: _ } | E::Waiting { calls: _ } => {
                Self::new(ErrorType::InvalidRequest, error.to_string())
            }
            E::SessionEnded { id } => {
                Self::conflict(format!("session `{id}` has ended and takes no more events or changes"))
            }
            E::TooLarge { op: _, what, size, max } => {
                Self::too_large(format!("{size} {what} are more than the {max} that are accepted at once"))
            }
            E::Fenced { .. }
            | E::Locked { .. }
            | E::File { .. }
            | E::Unsupported { .. }
            | E::Corrupt { .. }
            | E::Database { .. }
            | E::Stopped { .. } => fault(&error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// For paths that no route has.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    Failure::not_found(format!("There is no {method} {}", uri.path()))
}

/// The response with its envelope, if it is a failure; untouched otherwise.
pub(crate) fn rendered(mut response: Response, id: &RequestId) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<Arc<Failure>>() {
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

/// Axum itself refused the request: our own refusals carry their error, our health routes answer 503.
fn is_refused_by_router(response: &Response) -> bool {
    response.status().is_client_error()
}

fn of_status(status: StatusCode) -> Failure {
    match status {
        StatusCode::NOT_FOUND => Failure::not_found("Not found"),
        StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large("The request is too large"),
        StatusCode::METHOD_NOT_ALLOWED => {
            let message = "The method is not allowed here; the `allow` header names those that are";
            Failure { status, ..Failure::new(ErrorType::InvalidRequest, message) }
        }
        _ => Failure { status, ..Failure::new(ErrorType::InvalidRequest, "The request could not be read") },
    }
}

/// The same words whether the object does not exist, was deleted, or belongs to another workspace.
pub(crate) fn not_found(what: &str, id: &str) -> Failure {
    let message = format!("{what} `{}` was not found", api::body::excerpt(id));
    Failure {
        code: (what == "environment").then_some("environment_not_found"),
        ..Failure::not_found(message)
    }
}

/// An id from a path. One of the wrong form names nothing, like one that does not exist.
pub(crate) fn id<K: Kind>(what: &str, text: &str) -> Result<Id<K>, Failure> {
    Id::parse(text).ok_or_else(|| not_found(what, text))
}

/// A fault of ours: the whole chain into the log, nothing of it to the client.
fn fault(error: &dyn std::error::Error) -> Failure {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = %chain, "a request failed: {chain}");
    Failure::internal(INTERNAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ids::AgentId;
    use api::ids::EnvironmentId;
    use api::ids::SessionId;
    use api::sessions::SessionStatus;

    /// A row of the table: status, type, code, `x-should-retry`, message.
    fn row(error: impl Into<Failure>) -> String {
        let Failure { status, kind, message, code, retry } = error.into();
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        let retry = retry.map(|retry| format!(" retry={retry}")).unwrap_or_default();
        format!("{} {}{code}{retry}: {message}", status.as_u16(), kind.as_str())
    }

    fn session() -> SessionId {
        SessionId::parse("sesn_1").unwrap()
    }

    fn broken() -> store::Error {
        let source = "disk full at /var/lib/secret".into();
        store::Error::Database { op: "append".into(), is_unknown: false, source }
    }

    #[test]
    fn a_store_error_becomes_what_the_client_can_act_on() {
        use store::Error as E;
        let (what, id) = ("agent", || "agent_1".to_owned());
        let rows = [
            row(E::NotFound { what, id: id() }),
            row(E::Conflict { what, id: id(), current: 3 }),
            row(E::Exists { what, id: id() }),
            row(E::InUse { what, id: id(), sessions: 2 }),
            row(E::Running { id: session() }),
            row(E::SessionEnded { id: session() }),
            row(E::TooLarge { op: "append", what: "entries", size: 9, max: 8 }),
            row(broken()),
        ];
        let expected = [
            "404 not_found_error: agent `agent_1` was not found",
            "409 conflict_error retry=false: agent `agent_1` was changed in the meantime; read it again",
            "409 conflict_error retry=false: agent `agent_1` exists already",
            "409 conflict_error retry=false: agent `agent_1` cannot be deleted: 2 session(s) refer to it",
            "400 invalid_request_error: session `sesn_1` is running; interrupt it and wait until it is idle",
            "409 conflict_error retry=false: session `sesn_1` has ended and takes no more events or changes",
            "413 request_too_large: 9 entries are more than the 8 that are accepted at once",
            "500 api_error: Internal server error",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn an_error_of_the_harness_becomes_what_the_client_can_act_on() {
        use harness::Error as E;
        let (agent, environment) =
            (AgentId::parse("agent_1").unwrap(), EnvironmentId::parse("env_1").unwrap());
        let corrupt = serde_json::from_str::<u8>("x").unwrap_err();
        let rows = [
            row(E::Invalid(Error::invalid("name: no").with_code("invalid_metadata"))),
            row(E::NotFound { what: "environment", id: environment.to_string() }),
            row(E::VersionNotFound { id: agent, version: 2 }),
            row(E::ModelNotServed { field: "model", model: "m".into() }),
            row(E::EnvironmentArchived { id: environment }),
            row(E::Running { attempt: "archive", id: session() }),
            row(E::NotIdle { id: session(), status: SessionStatus::Running }),
            row(E::Ended { id: session() }),
            row(E::Session { attempt: "make", id: session(), source: broken() }),
            row(E::Corrupt { what: "agent", id: "agent_1".into(), source: corrupt }),
            row(E::Store(broken())),
        ];
        let expected = [
            "400 invalid_request_error invalid_metadata: name: no",
            "404 not_found_error environment_not_found: environment `env_1` was not found",
            "404 not_found_error: agent `agent_1` or its version 2 was not found",
            "400 invalid_request_error: model: no provider of this server serves `m`; GET /v1/models lists what it has",
            "400 invalid_request_error environment_archived: environment_id: Environment env_1 is archived and cannot be \
             used in new sessions",
            "400 invalid_request_error: session `sesn_1` is running and cannot be archived; send user.interrupt and wait \
             until it is idle",
            "400 invalid_request_error: agent: session `sesn_1` is running; wait until it is idle",
            "409 conflict_error retry=false: session `sesn_1` has ended and takes no more events or changes",
            "500 api_error: the server could not make session `sesn_1`; see its log",
            "500 api_error: Internal server error",
            "500 api_error: Internal server error",
        ];
        assert_eq!(rows, expected);
    }
}
