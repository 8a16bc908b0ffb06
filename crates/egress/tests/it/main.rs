//! The door of a sandbox through its public boundary: decisions, parsers, and a proxy with real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod client;
mod decisions;
mod explicit;
mod parsers;
mod process;
mod resolving;
mod stage;
mod stub;
mod terminated;
mod tls_host;
mod transparent;
