//! The HTTP API from outside: a real server on a free port of the loopback interface, a real client, the real harness
//! with a scripted model, and a store in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod auth;
mod client;
mod environments;
mod events;
mod extensions;
mod health;
mod metrics;
mod models;
mod requests;
mod server;
mod sessions;
mod streams;
mod threads;
