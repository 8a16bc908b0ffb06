//! Fakes and fixtures for tests: nothing here is part of the server.

pub mod bucket;
pub mod engine;
pub mod model_server;
mod model_server_connection;
pub mod model_server_reply;
pub mod postgres;
pub mod provider_rules;
pub mod registry;
