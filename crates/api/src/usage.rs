//! Tokens, time and cost of a session or thread, as answers show them.

use serde::Serialize;

use crate::render::seconds;
use crate::sessions::Progress;
use crate::time::Timestamp;

/// The `usage` of a session or thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionUsage {
    /// Input tokens that the cache had no part in.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Input tokens read from the cache.
    pub cache_read_input_tokens: u64,
    /// Input tokens written to the cache.
    pub cache_creation: CacheCreation,
    /// Time during which it ran.
    pub active_seconds: f64,
    /// Calls of web tools.
    pub server_tool_use: ServerToolUse,
    /// Cost at list price, where all prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_cost: Option<MonetaryAmount>,
}

/// Input tokens written to the cache, by lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheCreation {
    /// Five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// One hour.
    pub ephemeral_1h_input_tokens: u64,
}

/// Calls of web tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerToolUse {
    /// Searches.
    pub web_search_requests: u64,
    /// Always zero in the reference API too.
    pub web_fetch_requests: u64,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MonetaryAmount {
    /// Whole cents.
    pub amount: String,
    /// Always `USD`.
    pub currency: &'static str,
}

/// The `stats` of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Time during which it ran.
    pub active_seconds: f64,
    /// Time since it was made.
    pub duration_seconds: f64,
}

const MICROCENTS_PER_CENT: i64 = 1_000_000;

impl SessionUsage {
    /// The usage at `now`.
    pub fn new(progress: &Progress, now: Timestamp) -> Self {
        let usage = progress.usage;
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_input_tokens: usage.cache_read_input_tokens,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: usage.cache_creation_5m_input_tokens,
                ephemeral_1h_input_tokens: usage.cache_creation_1h_input_tokens,
            },
            active_seconds: seconds(progress.active_ms_at(now)),
            server_tool_use: ServerToolUse::default(),
            list_cost: progress.list_cost_microcents.map(MonetaryAmount::from_microcents),
        }
    }
}

impl MonetaryAmount {
    /// The amount to the nearest cent.
    pub fn from_microcents(microcents: i64) -> Self {
        let cents = microcents.max(0).saturating_add(MICROCENTS_PER_CENT / 2) / MICROCENTS_PER_CENT;
        Self { amount: cents.to_string(), currency: "USD" }
    }
}

impl Stats {
    /// The statistics at `now`, without the duration.
    pub(crate) fn new(progress: &Progress, now: Timestamp) -> Self {
        Self { active_seconds: seconds(progress.active_ms_at(now)), duration_seconds: 0.0 }
    }
}
