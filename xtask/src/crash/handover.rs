//! Two nodes on one store: a session moves while the node that has its files dies at each point of handing them over.
//!
//! A node that comes back goes on handing over. One that does not is waited for, and then the last checkpoint has to do:
//! what was done after it is told to be lost, and the files that come back later are nobody's.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::PoisonError;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::Shared;
use super::life::Life;
use super::points;
use super::points::DEATH_MAX;
use super::points::HASTY;
use super::points::OUT;
use super::points::joined;
use super::traces::Traces;
use crate::served;
use crate::served::Setup;

/// Sandboxes live on; files of an earlier life go with the next sweep.
const SLOW: &str = "[sandbox]\nfiles_hours_max = 0\n";
/// What the model is told when a checkpoint has to do.
const NOTICE: &str = "what was done in it after that is lost";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Every point at the same time, each on a database of its own.
pub(super) fn run(setup: &Setup) -> Result<()> {
    let outcomes: Vec<(String, Result<()>)> = thread::scope(|scope| {
        let mut moves = Vec::new();
        for point in OUT {
            let pair = Pair::make(setup, &format!("handing_over_{point}"), SLOW);
            moves.push((format!("{point} while handing over"), scope.spawn(move || pair?.come_back(point))));
        }
        let pair = Pair::make(setup, "gone_for_good", HASTY);
        moves.push(("gone for good".to_owned(), scope.spawn(move || pair?.stay_away())));
        moves.into_iter().map(|(name, life)| (name, joined(life))).collect()
    });
    for (name, outcome) in outcomes {
        outcome.with_context(|| format!("die at {name}"))?;
        println!("  {name}: passed");
    }
    Ok(())
}

/// Two nodes with one database and one blob store.
struct Pair {
    one: Setup,
    two: Setup,
}

impl Pair {
    fn make(setup: &Setup, name: &str, config: &str) -> Result<Self> {
        let one = points::own(setup, name, config)?;
        let folder = one.data.parent().context("a data folder lies in a folder")?;
        let two = Setup { data: folder.join("other"), log: folder.join("other.log"), ..one.clone() };
        let blobs = one.data.join("blobs");
        for folder in [&blobs, &two.data] {
            // A server refuses a folder that holds something and is open to others.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("make {}", folder.display()))?;
        }
        std::os::unix::fs::symlink(&blobs, two.data.join("blobs")).context("share the blob store")?;
        Ok(Self { one, two })
    }

    /// The first node dies while it hands over, and goes on with it when it is back.
    fn come_back(&self, point: &str) -> Result<()> {
        let Self { one, two } = self;
        let first = one.start(ANY_PORT, Some(&format!("{point}:1")))?;
        let shared = Shared::prepare(first.address, &one.key)?;
        let mut life = Life::new(&shared);
        life.create()?;
        life.whole_turn(first.address, 0)?;
        let second = two.start(ANY_PORT, None)?;
        let mut first = thread::scope(|scope| {
            let turn = scope.spawn(|| life.whole_turn(second.address, 1));
            let first = points::replace(one, first, point);
            joined(turn).and(first)
        })?;
        first.kill()?;
        let traces = Traces(one);
        traces.age_blobs()?;
        let first = one.start(ANY_PORT, None)?;
        traces.until_only(&traces.checkpoints()?)?;
        points::end(&mut life, &shared, &[&traces, &Traces(two)])?;
        drop((first, second));
        served::end_spawner(&one.data).and_then(|()| served::end_spawner(&two.data))
    }

    /// The first node dies with newer files than its checkpoint has, and comes back too late.
    fn stay_away(&self) -> Result<()> {
        let Self { one, two } = self;
        let mut first = one.start(ANY_PORT, Some("before_checkpoint:2"))?;
        let shared = Shared::prepare(first.address, &one.key)?;
        let mut life = Life::new(&shared);
        let traces = Traces(one);
        life.create()?;
        life.whole_turn(first.address, 0)?;
        traces.until_checkpointed()?;
        life.whole_turn(first.address, 1)?;
        if !first.ends_within(DEATH_MAX)? {
            bail!("the server has not begun a second checkpoint within {DEATH_MAX:?}");
        }
        let second = two.start(ANY_PORT, None)?;
        life.whole_turn(second.address, 2)?;
        let told = life.log()?.iter().filter(|event| event.to_string().contains(NOTICE)).count();
        ensure!(told == 1, "the loss was told {told} times");
        let effects: BTreeSet<String> = life.effects()?.into_iter().collect();
        let expected = ["t0c0", "t0c1", "t2c0", "t2c1"].map(str::to_owned);
        ensure!(effects == BTreeSet::from(expected), "the effects are {effects:?}");
        life.audit()?;
        {
            let counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let found = (counts.lost, counts.doubled, counts.unfinished);
            ensure!(
                found == (2, 0, 0),
                "more is wrong than the loss that was told: {:#?}",
                counts.complaints
            );
        }
        let first = one.start(ANY_PORT, None)?;
        points::leave(&mut life, &[&traces, &Traces(two)])?;
        drop((first, second));
        served::end_spawner(&one.data).and_then(|()| served::end_spawner(&two.data))
    }
}
