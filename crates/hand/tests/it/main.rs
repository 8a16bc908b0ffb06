//! The hand from outside: the real program without walls, over real sockets.

#![expect(clippy::unwrap_used, reason = "the lint knows only functions marked as tests, not what they share")]

mod bash;
mod calls;
mod files;
mod hand;
mod protocol;
mod search;
mod timeouts;
