//! Writing answers: JSON texts and the units of the wire.

use serde::Serialize;

/// A value of ours as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data always becomes JSON")
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a session would have to last 285,000 years")]
pub(crate) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
