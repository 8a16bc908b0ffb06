//! Providers against a real HTTP server whose bytes the test controls, and the scripted model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod chat;
mod failures;
mod field;
mod fixture;
mod messages;
mod prompt;
mod routes;
mod scripted;
