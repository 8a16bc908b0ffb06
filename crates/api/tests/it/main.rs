//! The wire as a client meets it: what is refused and in which words, what is stored, and what is answered.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::needless_pass_by_value, reason = "json!(…) reads best without a reference")]

mod agents;
mod bodies;
mod environments;
mod events;
mod lists;
mod sessions;
mod tools;

use api::errors::Error;
use api::time::Timestamp;
use serde_json::Value;

/// A point in time that tests agree on.
const NOON: Timestamp = Timestamp(1_800_000_000_000_000);
/// A later one.
const EVENING: Timestamp = Timestamp(1_800_020_000_000_000);

/// A body as bytes.
fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A text as JSON.
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The message of a refusal.
fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().message
}
