//! `bench`: speed and size of the release build over HTTP, with the mock model on the same machine, as a table.
//!
//! Closed loop: every client waits for the end of one operation before it begins the next. The clients, the mock model
//! and the server share the processors, so the figures are what one machine gives in all, not the server alone. The
//! store syncs every commit to disk.

mod load;
mod machine;
mod sandbox;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use clap::Args;
use clap::ValueEnum;

use crate::bench::load::Load;
use crate::bench::load::Operation;
use crate::mock;
use crate::process;
use crate::served;
use crate::served::Profile;
use crate::served::Served;
use crate::served::Setup;

const CLIENTS: [u32; 3] = [1, 8, 32];
const STARTS: u32 = 20;
const IDLE_SESSIONS: u32 = 1000;
const KEY: &str = "sk-jm-bench";

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this part
    #[arg(value_enum)]
    only: Option<Part>,
    /// Fewer rounds, for a first look at sandboxes
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Sessions, turns and events
    Turns,
    /// Sandboxes: their start, calls, memory, checkpoints and network
    Sandbox,
    /// Start and memory
    Process,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = Profile::Release.build("journeyman", "journeyman")?;
    let folder = process::target().join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let upstream = mock::start(Profile::Release, &folder.join("mock-model.log"))?;
    let setup = |name: &str| Setup {
        binary: binary.clone(),
        data: folder.join(name),
        database: None,
        upstream: upstream.address,
        key: KEY.to_owned(),
        config: None,
        log: folder.join("server.log"),
    };
    println!("{}\n", machine::describe(&folder)?);
    let wants = |part| options.only.is_none_or(|only| only == part);
    if options.only != Some(Part::Sandbox) {
        println!("| what | clients | p50 ms | p99 ms | per second |\n|---|---:|---:|---:|---:|");
    }
    if wants(Part::Turns) {
        with_server(&setup("turns"), turns)?;
    }
    if wants(Part::Process) {
        starts(&setup("starts"))?;
        with_server(&setup("memory"), memory)?;
    }
    // Last, for it has a table of its own.
    if wants(Part::Sandbox) {
        sandbox::run(&setup("sandbox"), options.quick)?;
    }
    drop(upstream);
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn with_server(setup: &Setup, measure: impl FnOnce(&Served) -> Result<()>) -> Result<()> {
    let server = setup.start(any_port(), None)?;
    let outcome = measure(&server);
    server.stop()?;
    served::end_spawner(&setup.data)?;
    outcome
}

fn turns(server: &Served) -> Result<()> {
    let load = Load::new(server.address, KEY)?;
    for operation in [Operation::Create, Operation::FirstEvent, Operation::TextTurn, Operation::ToolTurn] {
        for clients in CLIENTS {
            let cpu = machine::cpu(server.id())?;
            let measured = load.measure(operation, clients)?;
            let spent = machine::cpu(server.id())?.saturating_sub(cpu);
            // The rest of the turn is not part of what is timed, so a rate would say nothing.
            let per_second = (operation != Operation::FirstEvent).then_some(measured.per_second);
            row(operation.name(), clients, &measured.latencies, per_second);
            if operation == Operation::ToolTurn {
                let count = u32::try_from(measured.latencies.len()).unwrap_or(u32::MAX).max(1);
                let each = millis(spent / count);
                println!("| server CPU of a tool turn, outside the sandbox | {clients} | {each:.2} | | |");
            }
        }
    }
    Ok(())
}

fn starts(setup: &Setup) -> Result<()> {
    // The first start makes the database; it is not what is measured.
    let mut server = setup.start(any_port(), None)?;
    let address = server.address;
    let mut latencies = Vec::new();
    for _ in 0..STARTS {
        server.stop()?;
        server = setup.start(address, None)?;
        latencies.push(server.ready_after);
    }
    server.stop()?;
    row("start to ready", 1, &latencies, None);
    Ok(())
}

fn memory(server: &Served) -> Result<()> {
    let load = Load::new(server.address, KEY)?;
    resident("resident memory, no session", server)?;
    let sessions = load.sessions(IDLE_SESSIONS)?;
    resident("resident memory, 1,000 idle sessions, just created", server)?;
    load.one_text_turn_each(&sessions)?;
    resident("resident memory, 1,000 idle sessions, one turn each", server)
}

fn resident(what: &str, server: &Served) -> Result<()> {
    println!("| {what} | | {:.1} MiB | | |", machine::resident_mib(server.id())?);
    Ok(())
}

fn row(what: &str, clients: u32, latencies: &[Duration], per_second: Option<f64>) {
    let mut sorted = latencies.to_vec();
    sorted.sort();
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        millis(sorted.get(index).copied().unwrap_or_default())
    };
    let rate = per_second.map_or_else(String::new, |rate| format!("{rate:.0}"));
    println!("| {what} | {clients} | {:.2} | {:.2} | {rate} |", at(50), at(99));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Where the bench keeps its data, for the description of the machine.
fn file_system(folder: &Path) -> Result<String> {
    Ok(process::read(process::command("stat").args(["-f", "-c", "%T"]).arg(folder))?.trim().to_owned())
}
