//! The hand: the first process inside a sandbox. It builds the walls (`confine`), then runs the six tools for whoever
//! is connected (`serve`), reaps every orphan, and keeps each result until it is acknowledged.
//!
//! The library part is what the `hand` program is made of, and [`protocol`], which the outside speaks too.

pub mod confine;
pub mod contain;
pub mod control;
pub mod layer;
pub mod place;
pub mod protocol;
pub mod serve;
pub mod start;
pub mod text;

mod calls;
mod connection;
mod drains;
mod exec;
mod files;
mod limits;
mod output;
mod process;
mod scratch;
mod shell;
mod sys;
mod tools;
mod worker;
