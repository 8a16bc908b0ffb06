//! Keeps usage and times, of a thread and of the session.

use api::completion::Usage;
use api::sessions::Progress;
use api::time::Timestamp;

/// A thread or the session began to work.
pub(crate) fn start(progress: &mut Progress, at: Timestamp, created_at: Timestamp) {
    progress.running_since.get_or_insert(at);
    progress.startup_ms.get_or_insert_with(|| at.millis_since(created_at));
}

/// A thread or the session stopped working.
pub(crate) fn stop(progress: &mut Progress, at: Timestamp) {
    if let Some(since) = progress.running_since.take() {
        progress.active_ms += at.millis_since(since);
    }
    progress.has_idled = true;
}

/// Adds tokens and their cost.
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
