//! One build from its lease to its layer.

use std::sync::Arc;
use std::time::Duration;

use api::ids::SessionId;
use api::time::Timestamp;
use egress::policy::Access;
use sandbox::LayerName;
use sandbox::Sandbox;
use store::BuildEnd;
use store::BuildRecord;
use store::BuildState;
use store::Claim;
use tokio::time::MissedTickBehavior;

use super::Builds;
use super::Failure;
use super::Recipe;
use super::recipe;
use super::recipe::Step;
use super::script;
use super::script::Printed;
use crate::error::chain;
use crate::limits;

/// How often a build says how far it is, and whoever waits for another node looks.
const TICK: Duration = Duration::from_secs(1);

/// Sees to it that the layer is here.
pub(super) async fn run(builds: &Builds, recipe: Recipe, is_forced: bool) -> Result<(), Failure> {
    match Site::open(builds, &recipe.layer, is_forced).await? {
        None => Ok(()),
        Some(site) => site.build(recipe).await,
    }
}

/// A build that is ours to do.
struct Site<'a> {
    builds: &'a Builds,
    claim: Claim,
    key: String,
    step: &'static str,
    log: String,
}

impl<'a> Site<'a> {
    /// The lease of a build; `None` when its layer is here.
    async fn open(builds: &'a Builds, layer: &LayerName, is_forced: bool) -> Result<Option<Self>, Failure> {
        let inner = &builds.0;
        let key = layer.to_string();
        let claim = Claim { node: inner.node.clone(), ttl_ms: limits::LEASE_TTL_MS };
        let mut has_waited = false;
        loop {
            if inner.backend.layers().await.map_err(|error| Failure::of(&error))?.contains(layer) {
                inner.store.use_build(&key, inner.clock.now()).await.map_err(|error| Failure::of(&error))?;
                return Ok(None);
            }
            let now = inner.clock.now();
            let record = inner.store.build(&key).await.map_err(|error| Failure::of(&error))?;
            if (!is_forced || has_waited)
                && let Some(failure) = record.and_then(|record| recent_failure(record, now))
            {
                return Err(failure);
            }
            if inner.store.begin_build(&key, &claim, now).await.map_err(|error| Failure::of(&error))? {
                return Ok(Some(Self { builds, claim, key, step: "", log: String::new() }));
            }
            has_waited = true;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn build(mut self, recipe: Recipe) -> Result<(), Failure> {
        tracing::info!(layer = self.key, "build layer {}", self.key);
        let built = self.make(recipe).await;
        let Self { builds, claim, key, step, log } = self;
        let error = match &built {
            Ok(()) => None,
            Err(error) => Some(error.clone()),
        };
        let end = BuildEnd {
            error: error.clone(),
            step: step.to_owned(),
            log,
            bytes: None,
            at: builds.0.clock.now(),
        };
        let noted = builds.0.store.end_build(&key, &claim.node, &end).await;
        if let Err(source) = noted {
            tracing::warn!(layer = key, error = %source, "note the end of a build failed; its lease runs out");
        }
        let Some(error) = error else {
            tracing::info!(layer = key, "layer {key} is built");
            return Ok(());
        };
        tracing::warn!(layer = key, error, "the build of layer {key} failed");
        Err(Failure::with_log(&error, &end.log))
    }

    /// Makes the layer, or leaves nothing.
    async fn make(&mut self, recipe: Recipe) -> Result<(), String> {
        let inner = &self.builds.0;
        let Recipe { layer, steps, spec } = recipe;
        self.step = "wait";
        let _room = self.in_turn().await?;
        let spec = sandbox::Spec { session: inner.ids.make(), ..spec };
        let made = tokio::time::timeout(limits::BUILD_TIME_MAX, self.fill(&spec, &steps)).await;
        let made = made.unwrap_or_else(|_| Err(format!("it took longer than {:?}", limits::BUILD_TIME_MAX)));
        let committed = match made {
            Ok(()) => self.commit(&spec.session, &layer).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            // Nothing half-installed is left; what cannot be removed now is an orphan that the sweep removes.
            drop(inner.backend.destroy(&spec.session, false).await);
        }
        committed
    }

    async fn commit(&mut self, session: &SessionId, layer: &LayerName) -> Result<(), String> {
        self.step = "commit";
        let backend = &self.builds.0.backend;
        backend.destroy(session, true).await.map_err(|error| chain(&error))?;
        backend.commit(session, layer).await.map_err(|error| chain(&error))
    }

    /// Waits for room among the builds, saying so.
    async fn in_turn(&self) -> Result<tokio::sync::SemaphorePermit<'a>, String> {
        let turn = self.builds.0.room.acquire();
        tokio::pin!(turn);
        let mut ticks = ticks();
        loop {
            tokio::select! {
                permit = &mut turn => return permit.map_err(|error| chain(&error)),
                _ = ticks.tick() => self.say().await?,
            }
        }
    }

    /// Installs everything in a sandbox.
    async fn fill(&mut self, spec: &sandbox::Spec, steps: &[Step]) -> Result<(), String> {
        self.step = "start";
        let inner = &self.builds.0;
        let sandbox = loop {
            self.say().await?;
            match inner.backend.provision(spec).await {
                // Sandboxes that idle are ended by and by; the time of the whole build bounds this.
                Err(sandbox::Error::Full { .. }) => tokio::time::sleep(TICK).await,
                made => break made.map_err(|error| chain(&error))?,
            }
        };
        for step in steps {
            self.step = step.name;
            self.log.clear();
            self.say().await?;
            let status = self.perform(&*sandbox, step).await?;
            if status != 0 {
                return Err(format!("{} failed with exit status {status}{}", step.name, hint(spec, step)));
            }
        }
        self.step = "clean";
        self.say().await?;
        script::run(&*sandbox, &inner.ids, recipe::CLEAN).await.map(drop)
    }

    async fn perform(&mut self, sandbox: &dyn Sandbox, step: &Step) -> Result<i32, String> {
        let printed = Arc::new(Printed::default());
        let running = script::long(sandbox, &self.builds.0.ids, &step.script, Arc::clone(&printed));
        tokio::pin!(running);
        let mut ticks = ticks();
        loop {
            tokio::select! {
                status = &mut running => {
                    self.log = printed.last_lines();
                    return status;
                }
                _ = ticks.tick() => {
                    self.log = printed.last_lines();
                    self.say().await?;
                }
            }
        }
    }

    /// Says how far the build is, which prolongs its lease.
    async fn say(&self) -> Result<(), String> {
        let Self { builds, claim, key, step, log } = self;
        match builds.0.store.continue_build(key, claim, step, log).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("another node has taken it over".to_owned()),
            Err(error) => Err(chain(&error)),
        }
    }
}

/// What managers rarely say themselves: that nothing they look for can be reached.
fn hint(spec: &sandbox::Spec, step: &Step) -> &'static str {
    let is_shut = spec.network.as_ref().is_none_or(|policy| match &policy.access {
        Access::Unrestricted => false,
        Access::Limited { hosts } => hosts.is_empty(),
    });
    match (is_shut, step.is_manager) {
        (true, true) if spec.network.is_none() => "; sandboxes on this server have no network",
        (true, true) => "; this environment's networking does not allow package managers",
        (true | false, true | false) => "",
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A failure that is not worth another try yet.
fn recent_failure(record: BuildRecord, now: Timestamp) -> Option<Failure> {
    let BuildRecord { state, log, error, finished_at, .. } = record;
    let is_recent = state == BuildState::Failed && now.millis_since(finished_at?) < limits::BUILD_RETRY_MS;
    is_recent.then(|| Failure::with_log(error.as_deref().unwrap_or("it failed"), &log))
}

impl Failure {
    fn of(error: &dyn std::error::Error) -> Self {
        Self { reason: chain(error) }
    }

    /// What the model reads: a build's last lines tell more than its status.
    fn with_log(error: &str, log: &str) -> Self {
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(limits::BUILD_LINES_IN_ERROR_MAX);
        let reason = match &lines[first..] {
            [] => error.to_owned(),
            // Whatever a sentence around it ends with does not belong to the last line.
            last => format!("{error}; its last lines were:\n{}\n(end of its output)", last.join("\n")),
        };
        Self { reason }
    }
}
