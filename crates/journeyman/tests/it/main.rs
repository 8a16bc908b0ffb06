//! The binary as a user meets it: its commands, its output, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helpers included")]

mod bucket;
mod commands;
mod image;
mod packages;
mod program;
mod quickstart;
mod resting;
mod serve;
