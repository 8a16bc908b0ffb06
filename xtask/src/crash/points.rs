//! One node that dies at each point on the way of a session's files to the blob store and back.
//!
//! Each point has a server of its own, whose sandboxes end as soon as they idle and whose files go as soon as there is a
//! checkpoint, so that one life leads past every point within seconds. Afterwards nothing acknowledged is lost, the files
//! are whole, and a sweep leaves nothing that belongs to nobody.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::Shared;
use super::life::Life;
use super::traces::Traces;
use crate::served;
use crate::served::Served;
use crate::served::Setup;

/// On the way to the blob store: the server dies by itself while the session rests.
pub(super) const OUT: [&str; 4] = ["before_checkpoint", "after_pack", "after_blob", "after_checkpoint"];
/// On the way back: it dies under a call.
const BACK: [&str; 2] = ["before_restore", "after_restore"];
/// What idles is looked for every five seconds; the machine may have other things to do.
pub(super) const DEATH_MAX: Duration = Duration::from_mins(1);
/// What makes a life short.
pub(super) const HASTY: &str = "[sandbox]\nidle_minutes_max = 0\nfiles_hours_max = 0\n";

/// Every point at the same time, each with a data folder of its own.
pub(super) fn run(setup: &Setup) -> Result<()> {
    let outcomes: Vec<(&str, Result<()>)> = thread::scope(|scope| {
        let mut lives = Vec::new();
        for point in OUT.into_iter().chain(BACK) {
            let setup = own(setup, point, HASTY);
            lives.push((point, scope.spawn(move || die(&setup?, point))));
        }
        lives.into_iter().map(|(point, life)| (point, joined(life))).collect()
    });
    for (point, outcome) in outcomes {
        outcome.with_context(|| format!("die at {point}"))?;
        println!("  {point}: passed");
    }
    Ok(())
}

/// What a thread answers; a panic has been told already.
pub(super) fn joined<T>(life: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    life.join().unwrap_or_else(|_| bail!("the thread of a life panicked"))
}

/// A setup with a data folder, settings and, on PostgreSQL, a database of its own: whoever shares a database takes over the
/// sessions of the dead.
pub(super) fn own(setup: &Setup, name: &str, config: &str) -> Result<Setup> {
    let folder = setup.data.with_file_name(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join("journeyman.toml");
    std::fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
    let database = setup.database.as_deref().map(|url| own_database(url, name)).transpose()?;
    let (data, log) = (folder.join("data"), folder.join("server.log"));
    Ok(Setup { data, log, database, config: Some(path), ..setup.clone() })
}

fn own_database(url: &str, name: &str) -> Result<String> {
    crate::process::read(super::traces::psql(url)?.arg(format!("CREATE DATABASE {name}")))?;
    let (server, _) = url.rsplit_once('/').context("the address of a database ends with its name")?;
    Ok(format!("{server}/{name}"))
}

fn die(setup: &Setup, point: &str) -> Result<()> {
    let is_out = OUT.contains(&point);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let doom = format!("{point}:1");
    let mut server = setup.start(any_port, is_out.then_some(doom.as_str()))?;
    let shared = Shared::prepare(server.address, &setup.key)?;
    let mut life = Life::new(&shared);
    let traces = Traces(setup);
    life.create()?;
    life.whole_turn(shared.address, 0)?;
    if is_out {
        server = replace(setup, server, point)?;
        traces.until_checkpointed()?;
    } else {
        traces.until_checkpointed()?;
        server.kill()?;
        server = setup.start(shared.address, Some(&doom))?;
        traces.until_only(&traces.checkpoints()?)?;
        server = thread::scope(|scope| {
            let turn = scope.spawn(|| life.whole_turn(shared.address, 1));
            let server = replace(setup, server, point);
            joined(turn).and(server)
        })?;
        traces.until_checkpointed()?;
    }
    // What a crash left in the blob store is old enough now to belong to nobody.
    server.kill()?;
    traces.age_blobs()?;
    let mut server = setup.start(shared.address, None)?;
    traces.until_only(&traces.checkpoints()?)?;
    life.whole_turn(shared.address, 2)?;
    end(&mut life, &shared, &[&traces])?;
    server.kill()?;
    served::end_spawner(&setup.data)
}

/// Waits until a server has died by itself, and starts the next one in its place.
pub(super) fn replace(setup: &Setup, mut server: Served, point: &str) -> Result<Served> {
    if !server.ends_within(DEATH_MAX)? {
        bail!("the server has not reached {point} within {DEATH_MAX:?}");
    }
    setup.start(server.address, None)
}

/// The audit, the end of the session, and what is left afterwards.
pub(super) fn end(life: &mut Life<'_>, shared: &Shared, nodes: &[&Traces<'_>]) -> Result<()> {
    life.audit()?;
    let told: Vec<String> = life.log()?.iter().map(ToString::to_string).collect();
    if let Some(event) = told.iter().find(|event| event.contains("lost") || event.contains("session.error")) {
        bail!("something was told to be lost: {event}");
    }
    {
        let counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.is_bad() {
            bail!("the audit found violations: {:#?}", counts.complaints);
        }
    }
    leave(life, nodes)
}

/// The end of the session, after which nothing is left on any node.
pub(super) fn leave(life: &mut Life<'_>, nodes: &[&Traces<'_>]) -> Result<()> {
    life.archive()?;
    nodes.iter().try_for_each(|traces| traces.until_only(&[]))
}
