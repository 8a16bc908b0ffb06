//! Errors: [`Error`], a request that makes no sense in itself, and the envelope in which any error reaches a client.
//!
//! Messages are sentences for people; clients branch on the type and on `error.details.error_code`. HTTP statuses are
//! not known here: `server::error` has the table.

use serde_json::json;

use crate::ids::RequestId;

/// A request that makes no sense, whatever the state of the server. The message begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[expect(clippy::error_impl_error, reason = "always written api::errors::Error or imported alone")]
pub struct Error {
    /// `error.message`.
    pub message: String,
    /// `error.details.error_code`.
    pub code: Option<&'static str>,
}

/// The `type` of an error: the closed set that the official clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request makes no sense, now or later.
    InvalidRequest,
    /// No key, or not one of ours.
    Authentication,
    /// A payment is due.
    Billing,
    /// The key may not do this.
    Permission,
    /// Nothing of that name that the caller may know of.
    NotFound,
    /// Another change was first.
    Conflict,
    /// The request is larger than the server takes.
    RequestTooLarge,
    /// Too many requests.
    RateLimit,
    /// A fault of the server.
    Api,
    /// It took too long.
    Timeout,
    /// A bound of the server is reached; later it may work.
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
    /// An error with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None }
    }

    /// The same error with a machine code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// The body of a response that is an error, also the data of an `error` frame on a stream.
pub fn envelope(kind: ErrorType, message: &str, code: Option<&str>, request: &RequestId) -> String {
    let mut error = json!({ "type": kind.as_str(), "message": message });
    if let Some(code) = code {
        error["details"] = json!({ "error_code": code });
    }
    json!({ "type": "error", "error": error, "request_id": request }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_the_documented_one() {
        let request = RequestId::parse("req_1").unwrap();
        assert_eq!(
            envelope(ErrorType::NotFound, "no agent \"x\"", None, &request),
            r#"{"type":"error","error":{"type":"not_found_error","message":"no agent \"x\""},"request_id":"req_1"}"#
        );
        let archived = envelope(ErrorType::InvalidRequest, "no", Some("environment_archived"), &request);
        assert!(
            archived.contains(r#""message":"no","details":{"error_code":"environment_archived"}}"#),
            "{archived}"
        );
    }
}
