//! One build: from its job to its layer.

use std::sync::Arc;
use std::time::Duration;

use api::ids::SessionId;
use egress::policy::Access;
use sandbox::LayerName;
use sandbox::Sandbox;
use store::BuildEnd;
use store::Job;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

use super::Builds;
use super::Failure;
use super::Parts;
use super::Recipe;
use super::recipe;
use super::recipe::Step;
use super::script;
use super::script::Printed;
use crate::crash;
use crate::error::chain;
use crate::life::telemetry;
use crate::limits;

/// How often a build says how far it is, and whoever waits for another node looks.
pub(super) const TICK: Duration = Duration::from_secs(1);

const TAKEN_OVER: &str = "another node has taken it over";

/// Makes the layer of a job unless it is here, and ends the job with how that went. An error is one of the store.
pub(super) async fn run(builds: &Builds, job: &Job, recipe: Result<Recipe, String>) -> Result<(), String> {
    Site { builds, job, step: "", log: String::new() }.build(recipe).await
}

/// A build under way.
struct Site<'a> {
    builds: &'a Builds,
    job: &'a Job,
    step: &'static str,
    log: String,
}

impl<'a> Site<'a> {
    async fn build(mut self, recipe: Result<Recipe, String>) -> Result<(), String> {
        let layer = &self.job.key;
        tracing::info!(layer, "build layer {layer}");
        let begun = Instant::now();
        let built = match recipe {
            Ok(recipe) => self.make(recipe).await,
            Err(error) => Err(error),
        };
        telemetry::count_build(begun.elapsed(), built.is_ok());
        match &built {
            Ok(()) => tracing::info!(layer, "layer {layer} is built"),
            Err(error) => tracing::warn!(layer, error, "the build of layer {layer} failed"),
        }
        let Self { builds, job, step, log } = self;
        let Parts { store, clock, crash, .. } = &builds.0.parts;
        crash::point(crash.as_ref(), "before_job_end");
        let end = BuildEnd { error: built.err(), step: step.to_owned(), log, bytes: None, at: clock.now() };
        match store.end_build(job, &end).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(TAKEN_OVER.to_owned()),
            Err(error) => Err(format!("note the end of a build: {}", chain(&error))),
        }
    }

    /// Makes the layer, or leaves nothing.
    async fn make(&mut self, recipe: Recipe) -> Result<(), String> {
        let parts = &self.builds.0.parts;
        let Recipe { layer, steps, spec } = recipe;
        // The attempt before this one may have died after the layer was there.
        if parts.backend.layers().await.map_err(|error| chain(&error))?.contains(&layer) {
            return Ok(());
        }
        self.step = "wait";
        let _room = self.in_turn().await?;
        let spec = sandbox::Spec { session: parts.ids.make(), ..spec };
        let made = tokio::time::timeout(limits::BUILD_TIME_MAX, self.fill(&spec, &steps)).await;
        let made = made.unwrap_or_else(|_| Err(format!("it took longer than {:?}", limits::BUILD_TIME_MAX)));
        let committed = match made {
            Ok(()) => self.commit(&spec.session, &layer).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            // Nothing half-installed is left; what cannot be removed now is an orphan that the sweep removes.
            drop(parts.backend.destroy(&spec.session, false).await);
        }
        committed
    }

    async fn commit(&mut self, session: &SessionId, layer: &LayerName) -> Result<(), String> {
        self.step = "commit";
        let backend = &self.builds.0.parts.backend;
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
        let Parts { backend, ids, .. } = &self.builds.0.parts;
        let sandbox = loop {
            self.say().await?;
            match backend.provision(spec).await {
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
        script::run(&*sandbox, ids, recipe::CLEAN).await.map(drop)
    }

    async fn perform(&mut self, sandbox: &dyn Sandbox, step: &Step) -> Result<i32, String> {
        let printed = Arc::new(Printed::default());
        let running = script::long(sandbox, &self.builds.0.parts.ids, &step.script, Arc::clone(&printed));
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

    /// Records how far the build is, which prolongs the lease of its job.
    async fn say(&self) -> Result<(), String> {
        let Self { builds, job, step, log } = self;
        match builds.0.parts.store.continue_build(job, limits::LEASE_TTL_MS, step, log).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(TAKEN_OVER.to_owned()),
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

impl Failure {
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        Self { reason: chain(error) }
    }

    /// What the model reads: a build's last lines tell more than its status.
    pub(super) fn with_log(error: &str, log: &str) -> Self {
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
