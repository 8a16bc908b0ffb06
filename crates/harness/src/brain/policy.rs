//! Bounds of the loop.

/// Bounds of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often a request that failed for a passing reason is asked again.
    pub retries_max: u32,
    /// Pause before the first retry; it doubles with every further one.
    pub backoff_base_ms: u32,
    /// Longest pause between retries of our own choosing.
    pub backoff_max_ms: u32,
    /// Longest pause that a provider may ask for; a longer one ends the turn instead.
    pub retry_after_max_ms: u32,
    /// Model requests in one turn.
    pub rounds_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries_max: 8,
            backoff_base_ms: 500,
            backoff_max_ms: 30_000,
            retry_after_max_ms: 600_000,
            rounds_max: 500,
        }
    }
}
