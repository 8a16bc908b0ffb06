//! Answers for operators, without a key: alive, ready, and the metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

use crate::Server;
use crate::telemetry;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).route("/metrics", get(measures))
}

/// Alive is whoever answers. What sandboxes lack on this host is no reason to be ended, but to be seen.
async fn alive(State(server): State<Arc<Server>>) -> String {
    let status = server.harness.sandbox_status().map(|status| status.to_string());
    format!("ok\n{}", status.unwrap_or_default())
}

/// Ready is whoever reaches the store and is not about to stop.
async fn ready(State(server): State<Arc<Server>>) -> Response {
    if server.shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match server.store.find_key(&[0; 32]).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready, because the store does not answer: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn measures(State(server): State<Arc<Server>>) -> Response {
    let running = u32::try_from(server.harness.running()).unwrap_or(u32::MAX);
    metrics::gauge!(telemetry::SESSIONS_RUNNING).set(running);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::handle().render())
        .into_response()
}
