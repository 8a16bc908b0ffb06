//! HTTP: the only crate that serves it. Routes, auth, the beta gate, event streams, health and metrics.
//!
//! A handler parses, calls the store or the harness once, and renders; there is no business rule here. Every failure
//! leaves as the official error envelope, whatever broke: the handler, the router, the body, or a panic.

mod agents;
mod answer;
mod auth;
mod beta;
mod connection;
mod environments;
mod error;
mod events;
mod health;
mod limits;
mod list;
mod models;
mod previews;
mod request;
mod resource;
mod sessions;
mod sse;
mod stream;
pub mod telemetry;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use api::ids::Ids;
use api::time::Clock;
use axum::Router;
use axum::middleware;
use harness::Harness;
use model::Models;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use connection::serve;

/// Parts of a server.
pub struct Parts {
    /// Durable state.
    pub store: Store,
    /// Runs the sessions.
    pub harness: Harness,
    /// The models that the configuration routes.
    pub models: Arc<Models>,
    /// The time.
    pub clock: Clock,
    /// Makes ids.
    pub ids: Ids,
    /// Cancelled when the process is to stop.
    pub shutdown: CancellationToken,
    /// Bounds that an operator or a test may move.
    pub limits: Limits,
}

/// Bounds that an operator or a test may move; the rest are constants in `limits.rs`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Interval at which a silent event stream says that it is alive.
    pub heartbeat: Duration,
    /// Longest time in which a client takes no byte while there is something for it.
    pub write_stall_max: Duration,
    /// Event streams open at once.
    pub streams_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            heartbeat: limits::HEARTBEAT,
            write_stall_max: limits::WRITE_STALL_MAX,
            streams_max: limits::STREAMS_MAX,
        }
    }
}

/// State that every handler shares.
struct Server {
    store: Store,
    harness: Harness,
    models: Arc<Models>,
    clock: Clock,
    ids: Ids,
    shutdown: CancellationToken,
    limits: Limits,
    keys: auth::Keys,
    streams: Arc<Semaphore>,
}

/// Every route, ready to be served.
pub fn router(parts: Parts) -> Router {
    let Parts { store, harness, models, clock, ids, shutdown, limits } = parts;
    telemetry::handle();
    let streams = Arc::new(Semaphore::new(limits.streams_max));
    let keys = auth::Keys::default();
    let server = Arc::new(Server { store, harness, models, clock, ids, shutdown, limits, keys, streams });
    Router::new()
        .merge(agents::routes())
        .merge(environments::routes())
        .merge(sessions::routes())
        .merge(events::routes())
        .merge(threads::routes())
        .merge(models::routes())
        .merge(health::routes())
        .fallback(error::unknown_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), request::run))
        .with_state(server)
}
