//! The wire: every shape that crosses the HTTP boundary, the identifiers, the entry of the session log, and the
//! request that a model receives. Data and pure functions only; no I/O, no clock of its own.

pub mod completion;
pub mod emitted;
pub mod entry;
pub mod ids;
pub mod time;
