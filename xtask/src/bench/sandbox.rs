//! Sandboxes: through the server by the times in its log, and the parts straight from the back end.
//!
//! The parts are measured by `figures`, an example of the sandbox crate, so that this program need not carry a sandbox.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use super::any_port;
use super::load::Load;
use super::load::Measured;
use super::load::Operation;
use super::millis;
use crate::process;
use crate::served;
use crate::served::Setup;

/// What a first call may take, in milliseconds: half of them, and all but one of a hundred.
const COLD_MS_MAX: (f64, f64) = (10.0, 25.0);
/// What a call in a warm sandbox may take beyond its command.
const CALL_MS_MAX: f64 = 1.5;
const NO_BOUND: f64 = f64::INFINITY;

/// Measures and prints a table of its own, with the bound that each figure is held against.
pub(super) fn run(setup: &Setup, is_quick: bool) -> Result<()> {
    println!("\n| what | p50 ms | p99 ms | bound |\n|---|---:|---:|---|");
    let server = setup.start(any_port(), None)?;
    let mut load = Load::new(server.address, super::KEY)?;
    let spared = load.measure(Operation::FreshToolTurn, 1)?;
    row("API: first call stored → result stored, one session after another", &spared, COLD_MS_MAX);
    load.vary_sandboxes()?;
    let varied = load.measure(Operation::FreshToolTurn, 1)?;
    row("API: the same, when a spare sandbox never fits", &varied, COLD_MS_MAX);
    let crowd = load.measure(Operation::FreshToolTurn, 8)?;
    row("API: the same with 8 clients on this machine's processors", &crowd, (NO_BOUND, NO_BOUND));
    let warm = load.measure(Operation::WarmCall, 1)?;
    row("API: call in a warm sandbox, stored → result stored", &warm, (CALL_MS_MAX, NO_BOUND));
    server.stop()?;
    served::end_spawner(&setup.data)?;
    parts(setup, is_quick)
}

/// The parts, by the program that the server starts as its spawner.
fn parts(setup: &Setup, is_quick: bool) -> Result<()> {
    let figures = figures()?;
    let mut command = process::command(figures);
    command.arg(&setup.binary).arg(setup.data.with_extension("parts"));
    if is_quick {
        command.arg("quick");
    }
    let status = command.status().context("start the figures of sandboxes")?;
    anyhow::ensure!(status.success(), "the figures of sandboxes ended with {status}");
    Ok(())
}

fn figures() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XTASK_BINARIES") {
        return Ok(Path::new(&folder).join("figures"));
    }
    let mut cargo = process::cargo();
    cargo.args(["build", "--quiet", "--locked", "--release", "--package", "sandbox", "--example", "figures"]);
    process::run(&mut cargo)?;
    Ok(process::target().join("release/examples/figures"))
}

fn row(what: &str, measured: &Measured, bound: (f64, f64)) {
    let mut sorted: Vec<Duration> = measured.calls.clone();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        millis(sorted.get(index).copied().unwrap_or_default())
    };
    let (p50, p99) = (at(50), at(99));
    let verdicts = [describe("p50", p50, bound.0), describe("p99", p99, bound.1)].concat();
    println!("| {what} | {p50:.2} | {p99:.2} | {} |", verdicts.trim_end());
}

fn describe(name: &str, value: f64, limit: f64) -> String {
    if limit.is_infinite() {
        return String::new();
    }
    format!("{name} ≤ {limit}: {} ", if value <= limit { "ok" } else { "over" })
}
