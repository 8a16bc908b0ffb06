//! Tests of the harness at its two boundaries: the brain as pure functions over logs, and the whole loop over a real
//! store with a scripted model server and a recording sandbox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod brain;
mod builds;
mod calls;
mod jobs;
mod layers;
mod life;
mod stage;
mod threads;
mod troubles;
mod turns;
mod warm;
mod works;
mod world;
mod yard;
