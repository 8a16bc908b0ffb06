//! The embedded back end through its public boundary: real spawners, real sandboxes.
//!
//! Most tests need a host that can make sandboxes; each one has a data folder and a spawner of its own, and ends it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, some of which print figures")]

mod adoption;
mod bounds;
mod checkpoint;
mod data_folder;
mod disk;
mod docker;
mod doctor;
mod ground;
mod images;
mod kills;
mod life;
mod load;
mod mounts;
mod network;
mod rootless;
mod same;
mod speed;
mod traces;
mod walls;
