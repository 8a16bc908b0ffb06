//! Tests of the harness at its two boundaries: the brain as pure functions over logs, and the whole loop over a real
//! store with a scripted model server and a recording sandbox.

mod brain;
mod stage;
mod turns;
mod world;
