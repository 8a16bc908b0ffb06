//! From what went wrong at a provider to a [`Failure`]: its kind, a sentence for people, and how long to wait.
//!
//! The sentence names the provider, the status, the upstream's own error and its request id. It never holds a body
//! that is not an error object (it might quote the prompt), and no key, even when the upstream echoes it.

use api::completion::Failure;
use api::completion::FailureKind;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::limits::ERROR_MESSAGE_CHARS_MAX;
use crate::limits::RETRY_AFTER_MS_MAX;

/// A failure without advice when to come back.
pub(crate) fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message, retry_after_ms: None }
}

/// The error object of an upstream, whichever of the usual shapes it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UpstreamError {
    kind: String,
    code: String,
    message: String,
}

impl UpstreamError {
    /// Reads `{"error": {"type", "code", "message"}}`, `{"error": "…"}`, `{"message": "…"}` or `{"detail": "…"}`.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => clean(text),
            Some(Value::Number(number)) => number.to_string(),
            Some(value) => clean(&complaints(value)),
            None => String::new(),
        };
        let error = match body.get("error") {
            Some(Value::String(message)) => Self { message: clean(message), ..Self::default() },
            Some(error) => Self {
                kind: text(error.get("type")),
                code: text(error.get("code")),
                message: text(error.get("message")),
            },
            None => {
                let message = text(body.get("message").or_else(|| body.get("detail")));
                Self { kind: text(body.get("type")), code: text(body.get("code")), message }
            }
        };
        (error != Self::default()).then_some(error)
    }

    /// What an error in the middle of a stream means: by its name, by the status that some give as its code. Any other may
    /// pass.
    pub(crate) fn kind_in_stream(&self) -> FailureKind {
        let status = self.code.parse().ok().filter(|status| (400..600).contains(status));
        match (self.kind_by_name(), status) {
            (Some(kind), _) => kind,
            (None, Some(status)) => self.kind_of_status(status),
            (None, None) => FailureKind::Unavailable,
        }
    }

    /// What an error answered with `status` means.
    pub(crate) fn kind_of_status(&self, status: u16) -> FailureKind {
        let by_status = match status {
            402 => FailureKind::Billing,
            429 => FailureKind::RateLimited,
            529 => FailureKind::Overloaded,
            408 | 409 | 500.. => FailureKind::Unavailable,
            _ => FailureKind::Rejected,
        };
        match self.kind_by_name() {
            // The name says more than the status, except that it must not turn a rejection into a retry or back.
            Some(FailureKind::Rejected | FailureKind::Unavailable) | None => by_status,
            Some(named) => named,
        }
    }

    fn kind_by_name(&self) -> Option<FailureKind> {
        let lower = self.message.to_lowercase();
        let cannot_pay = lower.contains("credit balance") || lower.contains("insufficient_quota");
        if cannot_pay || [&self.kind, &self.code].iter().any(|name| *name == "insufficient_quota") {
            return Some(FailureKind::Billing);
        }
        match self.kind.as_str() {
            "billing_error" => Some(FailureKind::Billing),
            "overloaded_error" => Some(FailureKind::Overloaded),
            "rate_limit_error" | "rate_limit_exceeded" => Some(FailureKind::RateLimited),
            "api_error" | "timeout_error" | "server_error" => Some(FailureKind::Unavailable),
            "invalid_request_error"
            | "authentication_error"
            | "permission_error"
            | "not_found_error"
            | "request_too_large"
            | "conflict_error" => Some(FailureKind::Rejected),
            _ => None,
        }
    }

    /// `: type: message`, as far as there is one.
    pub(crate) fn describe(&self) -> String {
        let names = [self.kind.as_str(), self.code.as_str(), self.message.as_str()];
        names.iter().filter(|name| !name.is_empty()).flat_map(|name| [": ", name]).collect()
    }
}

/// The places and reasons of a list of faults in fields, in the form of `FastAPI`. The inputs that it quotes stay out.
fn complaints(value: &Value) -> String {
    let faults = value.as_array().or_else(|| value["detail"].as_array());
    let one = |fault: &Value| {
        let place = fault["loc"].as_array().into_iter().flatten();
        let place: Vec<&str> = place.filter_map(Value::as_str).collect();
        format!("{}: {}", place.join("."), fault["msg"].as_str().unwrap_or_default())
    };
    faults.into_iter().flatten().map(one).collect::<Vec<_>>().join("; ")
}

/// One line of bounded length.
fn clean(text: &str) -> String {
    let mut line: String = text.chars().take(ERROR_MESSAGE_CHARS_MAX).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line.replace(char::is_control, " ")
}

/// The upstream's name for the request, when it gives a harmless one.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("request-id").or_else(|| headers.get("x-request-id"))?.to_str().ok()?;
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
    (is_plain && !id.is_empty() && id.len() <= 128).then_some(id)
}

/// How long the upstream wants us to wait: `retry-after-ms`, or `retry-after` in seconds or as a date. A date counts
/// from the response's own `date`, so that no clock of ours has to be right.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str, factor: f64| {
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bounded to an hour just before, and not negative"
        )]
        let millis = (value * factor).min(RETRY_AFTER_MS_MAX as f64).ceil() as u64;
        Some(millis)
    };
    if let Some(millis) = header("retry-after-ms").and_then(|text| number(text, 1.0)) {
        return Some(millis);
    }
    let after = header("retry-after")?;
    if let Some(millis) = number(after, 1000.0) {
        return Some(millis);
    }
    let parser = DateTimeParser::new();
    let then = parser.parse_timestamp(after).ok()?;
    let now = parser.parse_timestamp(header("date")?).ok()?;
    let millis = then.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
    Some(millis.unsigned_abs().min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_wait_is_read_in_every_form_and_bounded() {
        let date = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");
        for (pairs, expected) in [
            (vec![("retry-after", "2")], Some(2_000)),
            (vec![("retry-after", "0.5")], Some(500)),
            (vec![("retry-after", "9"), ("retry-after-ms", "150")], Some(150)),
            (vec![date, ("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT")], Some(30_000)),
            (vec![date, ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT")], Some(0)),
            (vec![("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT")], None),
            (vec![("retry-after", "1e300")], Some(RETRY_AFTER_MS_MAX)),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(retry_after_ms(&headers(&pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn an_error_that_spans_lines_is_told_on_one_and_cut() {
        let body = format!(r#"{{"error":{{"type":"x","message":"a\nb{}"}}}}"#, "é".repeat(1000));
        let told = UpstreamError::parse(body.as_bytes()).unwrap().describe();
        assert!(told.starts_with(": x: a bé") && told.ends_with("é…"), "{told}");
        assert_eq!(told.chars().count(), 5 + ERROR_MESSAGE_CHARS_MAX + 1);
    }
}
