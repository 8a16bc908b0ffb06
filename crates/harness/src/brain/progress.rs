//! Keeps the session's usage and times.

use api::completion::Usage;
use api::sessions::Progress;
use api::time::Timestamp;

/// The session began to work.
pub(crate) fn start(progress: &mut Progress, at: Timestamp, created_at: Option<Timestamp>) {
    progress.running_since.get_or_insert(at);
    if let Some(created_at) = created_at {
        progress.startup_ms.get_or_insert_with(|| at.millis_since(created_at));
    }
}

/// The session stopped working.
pub(crate) fn stop(progress: &mut Progress, at: Timestamp) {
    if let Some(since) = progress.running_since.take() {
        progress.active_ms += at.millis_since(since);
    }
    progress.has_idled = true;
}

/// A model request ended.
pub(crate) fn spend(progress: &mut Progress, usage: &Usage, cost_microcents: Option<i64>) {
    let Usage {
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_creation_5m_input_tokens,
        cache_creation_1h_input_tokens,
    } = *usage;
    let total = &mut progress.usage;
    total.input_tokens += input_tokens;
    total.output_tokens += output_tokens;
    total.cache_read_input_tokens += cache_read_input_tokens;
    total.cache_creation_5m_input_tokens += cache_creation_5m_input_tokens;
    total.cache_creation_1h_input_tokens += cache_creation_1h_input_tokens;
    if let Some(cost) = cost_microcents {
        *progress.list_cost_microcents.get_or_insert(0) += cost;
    }
}
