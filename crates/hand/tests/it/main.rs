//! The hand from outside: the real program, mostly without walls, over real sockets.

#![expect(clippy::unwrap_used, reason = "the lint knows only functions marked as tests, not what they share")]

mod bash;
mod calls;
mod exec;
mod file_operations;
mod files;
mod hand;
mod layer;
mod network;
mod overlays;
mod programs;
mod protocol;
mod rest;
mod search;
mod timeouts;
mod walled;
