//! Builds: what environments install, once, into layers that all their sessions stand on.
//!
//! Whoever wants a layer writes a job and waits for its end (`obtain`); the job builds it (`run`), one of a layer at a time on
//! all nodes that share the store. A build that failed leaves nothing but its last lines, and is tried again when its layer
//! is next wanted and a minute has passed. One that a crash cut short is begun again by the next server on the same data.

mod obtain;
mod recipe;
mod run;
pub(crate) mod script;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::time::Clock;
use api::time::Timestamp;
use sandbox::Backend;
use sandbox::Error;
use sandbox::LayerName;
use sandbox::Root;
use serde::Deserialize;
use serde::Serialize;
use store::BuildRecord;
use store::BuildState;
use store::Job;
use store::JobRecord;
use store::JobState;
use store::Store;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use self::recipe::Step;
use crate::CrashPoint;
use crate::limits;
use crate::tasks::Tasks;

/// Kind of the jobs that build. Their key is the name of the layer, their node the one whose layers these are.
pub(crate) const BUILD: &str = "build";

/// What is to be built: the body of its job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The environment whose packages are to be installed.
    pub(crate) environment: SessionEnvironment,
    /// What they are installed on.
    pub(crate) below: Root,
}

/// A layer and how to build it.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) layer: LayerName,
    steps: Vec<Step>,
    /// The sandbox to build in; its session is made for each try.
    spec: sandbox::Spec,
}

/// How the build of an environment's packages is going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// How far it is.
    pub progress: BuildProgress,
    /// What it does, or did last.
    pub step: Option<String>,
    /// The last lines that this step printed.
    pub log: Vec<String>,
    /// Name of the layer; `None` when there is nothing to install.
    pub layer: Option<String>,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildProgress {
    /// Nothing to install, or nobody has asked for it.
    None,
    /// It is under way.
    Building,
    /// Its layer is there.
    Ready,
    /// It failed.
    Failed,
}

/// The builds of this process.
#[derive(Clone)]
pub(crate) struct Builds(Arc<Inner>);

struct Inner {
    parts: Parts,
    slots: Mutex<HashMap<LayerName, Slot>>,
    /// Layers that are about to be built.
    announced: Mutex<Vec<LayerName>>,
    room: Semaphore,
    /// Changes whenever a build of this process has ended.
    ended: watch::Sender<()>,
}

/// What builds are made with.
pub(crate) struct Parts {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    /// The data folder of this process, whose layers these are.
    pub(crate) home: String,
    pub(crate) tasks: Tasks,
    pub(crate) crash: Option<CrashPoint>,
}

/// That a layer is about to be built, until this is dropped.
pub(crate) struct Announced {
    builds: Builds,
    layer: LayerName,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut announced = self.builds.0.announced();
        if let Some(at) = announced.iter().position(|layer| *layer == self.layer) {
            announced.swap_remove(at);
        }
    }
}

/// What this process knows of a layer.
enum Slot {
    Ready { noted_at: Timestamp },
    Building(watch::Receiver<Option<Result<(), Failure>>>),
    Failed { at: Timestamp, failure: Failure },
}

/// Why a layer is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    reason: String,
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, HashMap<LayerName, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announced(&self) -> MutexGuard<'_, Vec<LayerName>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builds {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            slots: Mutex::default(),
            announced: Mutex::default(),
            room: Semaphore::new(limits::BUILDS_MAX),
            ended: watch::Sender::new(()),
        }))
    }

    /// The layer of an environment that stands on `base`; `None` when it installs nothing.
    pub(crate) fn layer(&self, environment: &SessionEnvironment, base: &str) -> Option<LayerName> {
        recipe::layer(environment, base, self.0.parts.clock.now())
    }

    /// How to build that layer. `spec` is the sandbox to build it in.
    pub(crate) fn recipe(layer: LayerName, environment: &SessionEnvironment, spec: sandbox::Spec) -> Recipe {
        Recipe { layer, steps: recipe::steps(environment), spec }
    }

    /// Whether the layer is known to be here. Costs nothing.
    pub(crate) fn is_ready(&self, layer: &LayerName) -> bool {
        let now = self.0.parts.clock.now();
        let mut slots = self.0.slots();
        let Some(Slot::Ready { noted_at }) = slots.get_mut(layer) else { return false };
        if now.millis_since(*noted_at) < limits::BUILD_USE_NOTED_MS {
            return true;
        }
        *noted_at = now;
        drop(slots);
        let (inner, key) = (Arc::clone(&self.0), layer.to_string());
        drop(self.0.parts.tasks.spawn("note the use of a layer", async move {
            if let Err(error) = inner.parts.store.use_build(&key, inner.parts.clock.now()).await {
                tracing::warn!(error = %error, "note the use of layer {key} failed");
            }
        }));
        true
    }

    /// Waits until the layer is here; has it built if nobody does.
    pub(crate) async fn want(&self, layer: &LayerName, order: Order) -> Result<(), Error> {
        let mut building = match self.begin(layer.clone(), order, false) {
            Begun::Ready => return Ok(()),
            Begun::Failed(failure) => return Err(failure.into_error()),
            Begun::Building(building) => building,
        };
        match building.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(failure))) => Err(failure.into_error()),
            Ok(None) | Err(_) => {
                // Its task ended without a word: a shutdown, or a bug that was logged.
                self.0.slots().remove(layer);
                Err(Failure { reason: "the server stopped while it was built".to_owned() }.into_error())
            }
        }
    }

    /// Says that a layer is about to be built, so that nobody is told of an earlier try.
    pub(crate) fn announce(&self, layer: LayerName) -> Announced {
        self.0.announced().push(layer.clone());
        Announced { builds: self.clone(), layer }
    }

    /// Sees to it that the layer is built, and does not wait. A failure of before is forgotten.
    pub(crate) fn prepare(&self, layer: LayerName, order: Order) {
        drop(self.begin(layer, order, true));
    }

    /// Makes the layer that a job is about, and ends the job with how that went.
    pub(crate) async fn build(&self, job: &Job, recipe: Result<Recipe, String>) -> Result<(), String> {
        let ended = run::run(self, job, recipe).await;
        self.0.ended.send_replace(());
        ended
    }

    fn begin(&self, layer: LayerName, order: Order, is_forced: bool) -> Begun {
        let now = self.0.parts.clock.now();
        let mut slots = self.0.slots();
        match slots.get(&layer) {
            Some(Slot::Ready { .. }) => return Begun::Ready,
            // One whose task is gone is begun anew.
            Some(Slot::Building(building))
                if building.has_changed().is_ok() || building.borrow().is_some() =>
            {
                return Begun::Building(building.clone());
            }
            Some(Slot::Failed { at, failure })
                if !is_forced && now.millis_since(*at) < limits::BUILD_RETRY_MS =>
            {
                return Begun::Failed(failure.clone());
            }
            Some(Slot::Building(_) | Slot::Failed { .. }) | None => {}
        }
        let (report, building) = watch::channel(None);
        slots.insert(layer.clone(), Slot::Building(building.clone()));
        drop(slots);
        let builds = self.clone();
        drop(self.0.parts.tasks.spawn("obtain a layer", async move {
            let ended = obtain::obtain(&builds.0, &layer, &order, is_forced).await;
            let at = builds.0.parts.clock.now();
            let slot = match &ended {
                Ok(()) => Slot::Ready { noted_at: at },
                Err(failure) => Slot::Failed { at, failure: failure.clone() },
            };
            builds.0.slots().insert(layer, slot);
            report.send_replace(Some(ended));
        }));
        Begun::Building(building)
    }

    /// How the build of a layer is going.
    pub(crate) async fn view(&self, layer: &LayerName) -> Result<Build, store::Error> {
        let is_announced = self.0.announced().contains(layer);
        let is_under_way = matches!(self.0.slots().get(layer), Some(Slot::Building(_)));
        let record = self.0.parts.store.build(layer.as_str()).await?;
        let mut build = Build { layer: Some(layer.to_string()), ..Build::none() };
        let Some(record) = record else {
            let is_coming = is_under_way || is_announced;
            build.progress = if is_coming { BuildProgress::Building } else { BuildProgress::None };
            return Ok(build);
        };
        let BuildRecord {
            key,
            state,
            step,
            log,
            error,
            node: _,
            bytes: _,
            created_at,
            finished_at,
            used_at: _,
        } = record;
        build.step = Some(step).filter(|step| !step.is_empty());
        build.log = log.lines().map(str::to_owned).collect();
        build.started_at = Some(created_at);
        build.finished_at = finished_at;
        build.error = error;
        build.progress = match state {
            // The row may tell of an earlier try, or of the end of this one that is not over here.
            _ if is_under_way => BuildProgress::Building,
            BuildState::Ready => BuildProgress::Ready,
            BuildState::Failed if is_announced => BuildProgress::Building,
            BuildState::Failed => BuildProgress::Failed,
            BuildState::Building => match self.0.parts.store.job(BUILD, &key).await? {
                Some(job) if self.is_under_way(&job) => BuildProgress::Building,
                // Its builder died after the layer was there and before it had said so.
                _ if self.is_here(layer).await => BuildProgress::Ready,
                job => {
                    let stopped = "the server stopped while it was built; it is built when next wanted";
                    build.error = job.and_then(|job| job.error).or_else(|| Some(stopped.to_owned()));
                    BuildProgress::Failed
                }
            },
        };
        if build.progress == BuildProgress::Building {
            (build.finished_at, build.error) = (None, None);
        }
        Ok(build)
    }

    /// Whether somebody builds, or this process is about to.
    fn is_under_way(&self, job: &JobRecord) -> bool {
        match job.state {
            JobState::Running => true,
            JobState::Waiting => job.node.as_ref() == Some(&self.0.parts.home),
            JobState::Parked(_) => false,
        }
    }

    async fn is_here(&self, layer: &LayerName) -> bool {
        self.0.parts.backend.layers().await.is_ok_and(|layers| layers.contains(layer))
    }

    /// Where ids come from.
    pub(crate) fn ids(&self) -> Ids {
        self.0.parts.ids.clone()
    }

    /// Removes the layers that nobody has wanted for a month and on which nothing stands.
    pub(crate) async fn collect(&self, in_use: &BTreeSet<LayerName>) -> Result<(), Error> {
        let stored = |source: store::Error| Error::Layer {
            attempt: "look for unused layers".to_owned(),
            reason: source.to_string(),
        };
        let Parts { store, backend, clock, .. } = &self.0.parts;
        let now = clock.now();
        let before = now.plus_millis(-limits::BUILD_UNUSED_MS);
        let unused = store.unused_builds(before, limits::BUILDS_COLLECTED_MAX).await.map_err(stored)?;
        let here = backend.layers().await?;
        for build in unused {
            let Ok(layer) = build.key.parse::<LayerName>() else { continue };
            if in_use.contains(&layer) {
                // Were its row forgotten, nobody would remove it later.
                store.use_build(&build.key, now).await.map_err(stored)?;
                continue;
            }
            if !here.contains(&layer) || matches!(self.0.slots().get(&layer), Some(Slot::Building(_))) {
                continue;
            }
            tracing::info!(layer = %layer, "remove layer {layer}: nobody has wanted it for a month");
            let removed = backend.remove_layer(&layer).await;
            // From here on whoever wants it builds it anew.
            self.0.slots().remove(&layer);
            if let Err(error) = removed {
                tracing::warn!(layer = %layer, error = %error, "remove layer {layer} failed; trying again");
            }
        }
        // The rows stay for as long again, so that every node hears of it.
        store.forget_builds(now.plus_millis(-2 * limits::BUILD_UNUSED_MS)).await.map_err(stored)
    }
}

/// What there is when a layer is wanted.
enum Begun {
    Ready,
    Failed(Failure),
    Building(watch::Receiver<Option<Result<(), Failure>>>),
}

impl Build {
    /// Nothing to install.
    pub(crate) fn none() -> Self {
        Self {
            progress: BuildProgress::None,
            step: None,
            log: Vec::new(),
            layer: None,
            started_at: None,
            finished_at: None,
            error: None,
        }
    }
}

impl Failure {
    fn into_error(self) -> Error {
        Error::Layer { attempt: "install the packages of this environment".to_owned(), reason: self.reason }
    }
}
