//! Metrics of model requests.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Usage;
use tokio::time::Instant;

use crate::limits::MODELS_MEASURED_MAX;

const SECONDS: &str = "gen_ai_client_inference_duration_seconds";
const FIRST_SECONDS: &str = "gen_ai_client_inference_time_to_first_chunk_seconds";
const INPUT: &str = "gen_ai_client_inference_usage_input_tokens_total";
const OUTPUT: &str = "gen_ai_client_inference_usage_output_tokens_total";
const CACHE_READ: &str = "gen_ai_client_inference_usage_cache_read_input_tokens_total";
const CACHE_WRITE: &str = "gen_ai_client_inference_usage_cache_write_input_tokens_total";
const OPEN: &str = "journeyman_model_requests_open";

/// Describes the metrics of this crate to the process's recorder.
pub fn describe() {
    metrics::describe_histogram!(
        SECONDS,
        "Seconds of a model request, from sending it to its last byte or its failure"
    );
    metrics::describe_histogram!(
        FIRST_SECONDS,
        "Seconds from sending a model request to the first block of its reply"
    );
    metrics::describe_counter!(INPUT, "Input tokens, those of caches not among them");
    metrics::describe_counter!(OUTPUT, "Output tokens");
    metrics::describe_counter!(CACHE_READ, "Input tokens read from a cache");
    metrics::describe_counter!(CACHE_WRITE, "Input tokens written to a cache");
    metrics::describe_gauge!(OPEN, "Model requests under way");
}

/// A request under way. Dropped before its end, it was given up.
pub(crate) struct Measured {
    provider: String,
    model: String,
    begun: Instant,
    is_first_seen: Mutex<bool>,
}

impl Measured {
    pub(crate) fn begin(provider: &str, model: &str) -> Self {
        metrics::gauge!(OPEN, "provider" => provider.to_owned()).increment(1);
        let (provider, model) = (provider.to_owned(), bounded(model));
        Self { provider, model, begun: Instant::now(), is_first_seen: Mutex::new(false) }
    }

    /// Notes that something of the reply has arrived.
    pub(crate) fn note(&self, progress: &Progress) {
        let Progress::BlockStart { index: _, kind: _ } = progress else { return };
        let mut is_first_seen = self.is_first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *is_first_seen, true) {
            let labels = [("provider", self.provider.clone()), ("model", self.model.clone())];
            metrics::histogram!(FIRST_SECONDS, &labels).record(self.begun.elapsed());
        }
    }

    pub(crate) fn end(self, result: &Result<Reply, Failure>) {
        let labels = [("provider", self.provider.clone()), ("model", self.model.clone())];
        let error = match result {
            Ok(_) => "none",
            Err(failure) => failure_type(failure.kind),
        };
        let [provider, model] = labels.clone();
        metrics::histogram!(SECONDS, &[provider, model, ("error_type", error.to_owned())])
            .record(self.begun.elapsed());
        let Ok(Reply { usage, .. }) = result else { return };
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens,
            cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens,
        } = usage;
        metrics::counter!(INPUT, &labels).increment(*input_tokens);
        metrics::counter!(OUTPUT, &labels).increment(*output_tokens);
        metrics::counter!(CACHE_READ, &labels).increment(*cache_read_input_tokens);
        let written = cache_creation_5m_input_tokens.saturating_add(*cache_creation_1h_input_tokens);
        metrics::counter!(CACHE_WRITE, &labels).increment(written);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::gauge!(OPEN, "provider" => self.provider.clone()).decrement(1);
    }
}

fn failure_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Overloaded => "overloaded",
        FailureKind::RateLimited => "rate_limited",
        FailureKind::Unavailable => "unavailable",
        FailureKind::Billing => "billing",
        FailureKind::Rejected => "rejected",
    }
}

/// The model as a label: agents may name any that a route's pattern fits, and only so many are told apart.
fn bounded(model: &str) -> String {
    static SEEN: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();
    let mut seen = SEEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains(model) {
        return model.to_owned();
    }
    if seen.len() >= MODELS_MEASURED_MAX {
        return "other".to_owned();
    }
    seen.insert(model.to_owned());
    model.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_models_are_told_apart() {
        let labels: BTreeSet<String> =
            (0..2 * MODELS_MEASURED_MAX).map(|n| bounded(&format!("model-{n}"))).collect();
        assert_eq!(labels.len(), MODELS_MEASURED_MAX + 1);
        assert!(labels.contains("other") && bounded("model-0") == "model-0");
    }
}
