//! The wire: every shape that crosses the HTTP boundary, the identifiers, the entry of the session log, and the
//! request that a model receives. Data and pure functions only; no I/O, no clock of its own.

pub mod agents;
pub mod body;
pub mod completion;
mod content;
pub mod custom_tools;
pub mod emitted;
pub mod entry;
pub mod environments;
pub mod errors;
pub mod event_kinds;
pub mod events;
pub mod ids;
pub mod limits;
pub mod lists;
pub mod mcp;
pub mod model_config;
pub mod models;
pub mod page;
pub mod patch;
pub mod query;
mod render;
mod resources;
pub mod sessions;
pub mod skills;
pub mod threads;
pub mod time;
pub mod tools;
mod unbuilt;
pub mod usage;
pub mod web;
