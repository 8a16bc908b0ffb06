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

/// Bounds for what a model, a tool or a sandbox takes.
const LONG_BUCKETS: [f64; 16] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68];
/// The metrics with these bounds, by how they begin.
const LONG: [&str; 7] = [
    "gen_ai_",
    "journeyman_turn_",
    "journeyman_job_",
    "journeyman_sandbox_start_",
    "journeyman_checkpoint_seconds",
    "journeyman_restore_",
    "journeyman_layer_build_",
];
/// Bounds of an append, in entries.
const ENTRY_BUCKETS: [f64; 7] = [0.0, 1.0, 2.0, 4.0, 8.0, 32.0, 128.0];
/// Bounds of a size: 64 KiB to 16 GiB.
const BYTE_BUCKETS: [f64; 10] = [
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
];

/// The process's recorder, installed by the first call.
///
/// # Panics
/// Never: no list of buckets is empty.
pub fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let rest = [
            (Matcher::Suffix("_seconds".into()), &BUCKETS[..]),
            (Matcher::Suffix("_entries".into()), &ENTRY_BUCKETS[..]),
            (Matcher::Suffix("_bytes".into()), &BYTE_BUCKETS[..]),
        ];
        let long = LONG.map(|prefix| (Matcher::Prefix(prefix.into()), &LONG_BUCKETS[..]));
        let matchers = long.into_iter().chain(rest);
        let recorder = matchers
            .fold(PrometheusBuilder::new(), |builder, (matcher, buckets)| {
                builder.set_buckets_for_metric(matcher, buckets).expect("no list of buckets is empty")
            })
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        describe();
        store::telemetry::describe();
        model::telemetry::describe();
        harness::describe_metrics();
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
    for name in [PANICS, STREAMS_LAGGED, CONNECTIONS_STALLED] {
        metrics::counter!(name).increment(0);
    }
    metrics::gauge!(STREAMS_OPEN).increment(0);
}

/// Folds collected samples into the histograms, so that they take no memory when nobody reads the metrics.
pub(crate) async fn upkeep(shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        handle().run_upkeep();
    }
}
