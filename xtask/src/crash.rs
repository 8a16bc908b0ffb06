//! The crash runner: real processes, real kills, and an audit over the public API.
//!
//! Many sessions work at once against the built server; every command of theirs appends one line to a file in the
//! session's sandbox. The server is killed with SIGKILL at random moments and at named points, and started again on
//! the same data and port. Each session, at the end of its life, is audited: nothing acknowledged lost, nothing done
//! twice, everything finished, and where an effect is missing the model was told so.
//!
//! Before that it dies once at each named point in the life of a sandbox (`points`, `handover`): on the way to a
//! checkpoint, back from one, and from node to node; and at each in the life of a job (`jobs`).

mod audit;
mod handover;
mod jobs;
mod life;
mod points;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap::ValueEnum;

use crate::mock;
use crate::postgres::Postgres;
use crate::random::Random;
use crate::served;
use crate::served::Profile;
use crate::served::Served;
use crate::served::Setup;

/// Load must resume within this time of a restart.
const RESUME_MAX: Duration = Duration::from_mins(1);
/// Longest wait between the return of load and the kill.
const KILL_AFTER_MS: u64 = 60;
/// A server that should die at a named point is killed when it has not reached it by then.
const NAMED_MAX: Duration = Duration::from_millis(500);
/// Places in the server at which it can be told to die at random moments; those in the life of a sandbox are rarer.
const POINTS: [&str; 9] = [
    "input_stored",
    "driver_started",
    "before_append",
    "after_append",
    "before_model",
    "after_model",
    "before_tool",
    "after_tool",
    "before_acknowledge",
];
/// As many violations are told in words; all are counted.
const COMPLAINTS_MAX: usize = 20;

/// What a crash run does.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// How often the server is killed, after it has died at each point in the life of a sandbox
    #[arg(long, default_value_t = 200)]
    pub(crate) kills: u32,
    /// Replays the choice of moments
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Which store
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    pub(crate) database: Database,
    /// Sessions that work at the same time
    #[arg(long, default_value_t = 16)]
    pub(crate) sessions: u32,
    /// Drives the release build
    #[arg(long)]
    pub(crate) release: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { kills: 200, seed: None, database: Database::Sqlite, sessions: 16, release: false }
    }
}

/// Which store the server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Database {
    /// The embedded one
    Sqlite,
    /// A temporary PostgreSQL server
    Postgres,
}

/// What every session's thread and the killer share.
struct Shared {
    address: SocketAddr,
    key: String,
    agent: String,
    environment: String,
    /// No new life begins once this is set.
    is_over: AtomicBool,
    /// Rises with every acknowledged request: load has resumed.
    progress: AtomicU64,
    counts: Mutex<Counts>,
}

impl Shared {
    /// Makes what sessions need on a fresh server.
    fn prepare(address: SocketAddr, key: &str) -> Result<Self> {
        let (agent, environment) = life::prepare(address, key)?;
        Ok(Self {
            address,
            key: key.to_owned(),
            agent,
            environment,
            is_over: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            counts: Mutex::new(Counts::default()),
        })
    }
}

/// The outcome of the audits.
#[derive(Default)]
struct Counts {
    sessions: u64,
    turns: u64,
    events: u64,
    lost: u64,
    doubled: u64,
    unfinished: u64,
    ambiguous: u64,
    /// Those of the ambiguous calls whose effect is there.
    ambiguous_done: u64,
    complaints: Vec<String>,
}

impl Counts {
    fn is_bad(&self) -> bool {
        self.lost + self.doubled + self.unfinished > 0 || !self.complaints.is_empty()
    }

    fn complain(&mut self, session: &str, what: &str) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(format!("{session}: {what}"));
        }
    }
}

/// What a run stands on.
struct Ground {
    setup: Setup,
    folder: PathBuf,
    /// Held for as long as the run lasts.
    _upstream: Served,
    postgres: Option<Postgres>,
}

impl Ground {
    fn make(options: &Options, seed: u64) -> Result<Self> {
        let profile = if options.release { Profile::Release } else { Profile::Debug };
        let binary = profile.build("journeyman", "journeyman")?;
        let name = format!("journeyman-crash-{seed}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let upstream = mock::start(profile, &folder.join("mock-model.log"))?;
        let postgres = match options.database {
            Database::Sqlite => None,
            Database::Postgres => Some(Postgres::start()?),
        };
        let setup = Setup {
            binary,
            data: folder.join("data"),
            database: postgres.as_ref().map(|postgres| postgres.url.clone()),
            upstream: upstream.address,
            key: "sk-jm-crash".to_owned(),
            config: None,
            log: folder.join("server.log"),
        };
        Ok(Self { setup, folder, _upstream: upstream, postgres })
    }

    fn remove(self) -> Result<()> {
        drop(self.postgres);
        let folder = self.folder;
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}

/// Both parts; fails when anything was lost, doubled or left unfinished.
pub(crate) fn run(options: &Options) -> Result<()> {
    points(options)?;
    if options.kills == 0 { Ok(()) } else { kills(options) }
}

/// Dies once at each point in the life of a sandbox and of a job.
pub(crate) fn points(options: &Options) -> Result<()> {
    let ground = Ground::make(options, u64::from(options.kills))?;
    let begun = Instant::now();
    println!(
        "crash points in the life of a sandbox and of a job on {:?}, logs in {}",
        options.database,
        ground.folder.display()
    );
    let outcome = match &ground.postgres {
        None => points::run(&ground.setup),
        Some(_) => points::run(&ground.setup).and_then(|()| handover::run(&ground.setup)),
    };
    let outcome = outcome.and_then(|()| jobs::run(&ground.setup));
    outcome.with_context(|| format!("logs in {}", ground.folder.display()))?;
    println!("every point was passed and nothing was lost or left, in {} s", begun.elapsed().as_secs());
    ground.remove()
}

/// Kills at random moments under load.
pub(crate) fn kills(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let ground = Ground::make(options, seed)?;
    println!(
        "crash run: {} kills on {:?}, seed {seed}, logs in {}",
        options.kills,
        options.database,
        ground.folder.display()
    );
    let counts = drive(options, &ground.setup, seed)?;
    for complaint in &counts.complaints {
        println!("violation: {complaint}");
    }
    println!(
        "kills {}, sessions {}, turns {}, events {}, lost {}, doubled {}, unfinished {}, ambiguous {} ({} done)",
        options.kills,
        counts.sessions,
        counts.turns,
        counts.events,
        counts.lost,
        counts.doubled,
        counts.unfinished,
        counts.ambiguous,
        counts.ambiguous_done
    );
    if counts.is_bad() {
        bail!("the crash run found violations; seed {seed}, logs in {}", ground.folder.display());
    }
    ground.remove()
}

/// What the killer holds.
struct Killer<'a> {
    server: Served,
    setup: &'a Setup,
    random: Random,
    /// The running server was told to die by itself at some point.
    is_named: bool,
}

fn drive(options: &Options, setup: &Setup, seed: u64) -> Result<Counts> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = setup.start(any_port, None)?;
    let shared = Arc::new(Shared::prepare(server.address, &setup.key)?);
    let lives: Vec<_> = (0..options.sessions)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || life::live(&shared))
        })
        .collect();
    let mut killer = Killer { server, setup, random: Random::new(seed), is_named: false };
    let outcome: Result<()> = (1..=options.kills).try_for_each(|kill| {
        killer.kill(&shared, kill < options.kills)?;
        if kill % 50 == 0 {
            println!("  {kill} kills");
        }
        Ok(())
    });
    shared.is_over.store(true, Ordering::SeqCst);
    for life in lives {
        if life.join().is_err() {
            bail!("the thread of a session panicked");
        }
    }
    killer.server.stop()?;
    served::end_spawner(&setup.data)?;
    outcome?;
    let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *counts))
}

impl Killer<'_> {
    /// Waits until load is back, then for a moment, kills the server and starts the next one. One in three of the next
    /// servers is told to die at a named point.
    fn kill(&mut self, shared: &Shared, may_name: bool) -> Result<()> {
        let before = shared.progress.load(Ordering::SeqCst);
        let deadline = Instant::now() + RESUME_MAX;
        let mut has_ended = false;
        while !has_ended && shared.progress.load(Ordering::SeqCst) == before {
            if Instant::now() >= deadline {
                bail!("no request was acknowledged within {RESUME_MAX:?} of a restart");
            }
            has_ended = self.server.ends_within(Duration::from_millis(1))?;
        }
        let patience = if self.is_named {
            NAMED_MAX
        } else {
            Duration::from_millis(1 + self.random.below(KILL_AFTER_MS))
        };
        if !has_ended && !self.server.ends_within(patience)? {
            self.server.kill()?;
        }
        let point = (may_name && self.random.below(3) == 0).then(|| self.point());
        self.is_named = point.is_some();
        self.server = self
            .setup
            .start(shared.address, point.as_deref())
            .context("start the server again after a kill")?;
        Ok(())
    }

    fn point(&mut self) -> String {
        let index = usize::try_from(self.random.below(POINTS.len() as u64)).expect("a small number fits");
        format!("{}:{}", POINTS[index], 1 + self.random.below(20))
    }
}
