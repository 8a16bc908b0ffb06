//! Metrics: their names, the recorder, and the page that a Prometheus server reads.
//!
//! The recorder is the process's: the other crates record into it through the `metrics` macros.

use std::sync::OnceLock;

use metrics_exporter_prometheus::Matcher;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::limits::METRICS_UPKEEP;

/// Requests answered, by method, route and status.
pub(crate) const REQUESTS: &str = "journeyman_http_requests_total";
/// Seconds from the head of a request to the head of its answer, by method and route.
pub(crate) const REQUEST_SECONDS: &str = "journeyman_http_request_seconds";
/// Requests whose handler panicked.
pub(crate) const PANICS: &str = "journeyman_http_panics_total";
/// Event streams open now.
pub(crate) const STREAMS_OPEN: &str = "journeyman_http_streams_open";
/// Sessions that this process drives now.
pub(crate) const SESSIONS_RUNNING: &str = "journeyman_sessions_running";
/// Times a stream was too slow for its queue and went on from the store.
pub(crate) const STREAMS_LAGGED: &str = "journeyman_http_streams_lagged_total";
/// Connections closed because the client took no data.
pub(crate) const CONNECTIONS_STALLED: &str = "journeyman_http_connections_stalled_total";

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The process's recorder, installed by the first call.
///
/// # Panics
/// Never: the list of buckets is not empty.
pub fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    metrics::describe_counter!(REQUESTS, "Requests answered");
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        "Seconds from the head of a request to the head of its answer"
    );
    metrics::describe_counter!(PANICS, "Requests whose handler panicked");
    metrics::describe_gauge!(STREAMS_OPEN, "Event streams open now");
    metrics::describe_gauge!(SESSIONS_RUNNING, "Sessions that this process drives now");
    metrics::describe_counter!(STREAMS_LAGGED, "Times a stream fell behind and went on from the store");
    metrics::describe_counter!(CONNECTIONS_STALLED, "Connections closed because the client took no data");
}

/// Folds collected samples into the histograms, so that they take no memory when nobody reads the metrics.
pub(crate) async fn upkeep(shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        handle().run_upkeep();
    }
}
