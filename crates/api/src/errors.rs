//! The error that a client sees: status, type, message, and optionally a machine code.
//!
//! Messages are sentences for people; clients branch on the type and on `error.details.error_code`. The official clients
//! retry 408, 409, 429 and every 5xx unless `x-should-retry` says otherwise, so an error that will be the same next time
//! says so in `retry`.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::ids::RequestId;

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
#[expect(clippy::error_impl_error, reason = "always written api::errors::Error or imported alone")]
pub struct Error {
    /// HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: ErrorType,
    /// `error.message`.
    pub message: String,
    /// `error.details.error_code`.
    pub code: Option<&'static str>,
    /// More of `error.details`; a JSON object.
    pub details: Option<Value>,
    /// The header `x-should-retry`; `None` leaves it to the client.
    pub retry: Option<bool>,
}

/// The `type` of an error: the closed set that the official clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// 400, and every other 4xx without a type of its own.
    InvalidRequest,
    /// 401
    Authentication,
    /// 402
    Billing,
    /// 403
    Permission,
    /// 404
    NotFound,
    /// 409
    Conflict,
    /// 413
    RequestTooLarge,
    /// 429
    RateLimit,
    /// 500
    Api,
    /// 504
    Timeout,
    /// 529
    Overloaded,
}

impl ErrorType {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Conflict => "conflict_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Api => "api_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
        }
    }
}

impl Error {
    /// An error of any status and type.
    pub fn new(status: u16, kind: ErrorType, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), code: None, details: None, retry: None }
    }

    /// 400: the request makes no sense, now or later.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, ErrorType::InvalidRequest, message)
    }

    /// 401: no key, or not one of ours.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, ErrorType::Authentication, message)
    }

    /// 403: the key may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, ErrorType::Permission, message)
    }

    /// 404: nothing of that name that the caller may know of.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, ErrorType::NotFound, message)
    }

    /// 405: the path exists, the method does not.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(405, ErrorType::InvalidRequest, message)
    }

    /// 409: somebody else was first. Sending the same again does not help, and says so.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { retry: Some(false), ..Self::new(409, ErrorType::Conflict, message) }
    }

    /// 413: the body is larger than the route takes.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, ErrorType::RequestTooLarge, message)
    }

    /// 429: too many requests.
    pub fn rate_limited(message: impl Into<String>) -> Self {
        Self::new(429, ErrorType::RateLimit, message)
    }

    /// 500: a fault of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, ErrorType::Api, message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, ErrorType::Timeout, message)
    }

    /// 529: a bound of ours is reached; later it may work.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(529, ErrorType::Overloaded, message)
    }

    /// The same error with a machine code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same error with more details; `details` is a JSON object.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// The same error with the header `x-should-retry`.
    #[must_use]
    pub fn with_retry(self, retry: bool) -> Self {
        Self { retry: Some(retry), ..self }
    }

    /// The response body, also the data of an `error` frame on a stream.
    pub fn body(&self, request: &RequestId) -> String {
        let mut error = json!({ "type": self.kind.as_str(), "message": self.message });
        let mut details = match &self.details {
            Some(Value::Object(map)) => map.clone(),
            Some(_) | None => Map::new(),
        };
        if let Some(code) = self.code {
            details.insert("error_code".into(), code.into());
        }
        if !details.is_empty() {
            error["details"] = Value::Object(details);
        }
        json!({ "type": "error", "error": error, "request_id": request.as_str() }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_documented_envelope() {
        let request = RequestId::parse("req_1").unwrap();
        assert_eq!(
            Error::not_found("no agent \"x\"").body(&request),
            r#"{"type":"error","error":{"type":"not_found_error","message":"no agent \"x\""},"request_id":"req_1"}"#
        );
    }

    #[test]
    fn a_code_stands_in_the_details_beside_what_else_is_there() {
        let request = RequestId::parse("req_1").unwrap();
        let error = Error::invalid("archived")
            .with_code("environment_archived")
            .with_details(json!({ "since": "today" }));
        let body: Value = serde_json::from_str(&error.body(&request)).unwrap();
        assert_eq!(
            body["error"]["details"],
            json!({ "since": "today", "error_code": "environment_archived" })
        );
    }

    #[test]
    fn a_conflict_tells_clients_not_to_try_again() {
        assert_eq!(Error::conflict("version").retry, Some(false));
        assert_eq!(Error::overloaded("busy").retry, None);
    }
}
