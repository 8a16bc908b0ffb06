//! Builds the `attacker` program, to be embedded in this crate.

#[path = "../../build/static_program.rs"]
mod static_program;

fn main() {
    static_program::embed("attacker");
}
