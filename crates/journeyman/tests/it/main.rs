//! The binary as a user meets it: its commands, its output, its exit codes.

mod commands;
mod program;
mod quickstart;
mod serve;
