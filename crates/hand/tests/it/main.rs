//! The hand from outside: the real program without walls, over real sockets.

mod bash;
mod calls;
mod files;
mod hand;
mod protocol;
mod search;
mod timeouts;
