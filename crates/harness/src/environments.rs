//! From the environment of a session to the sandbox that it is to have.

mod builds;
mod managers;
mod network;
mod places;
mod routes;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::ids::SessionId;
use api::time::Clock;
use async_trait::async_trait;
use egress::Policy;
use sandbox::Backend;
use sandbox::Error;
use sandbox::ImageRoot;
use sandbox::LayerName;
use sandbox::Limits;
use sandbox::Root;
use sandbox::Spec;
use serde::Deserialize;
use serde::Serialize;
use store::Job;
use store::Store;

pub(crate) use self::builds::BUILD;
pub use self::builds::Build;
pub use self::builds::BuildProgress;
use self::builds::Builds;
use self::builds::Order;
pub use self::network::Operator;
use self::places::Places;
use crate::CrashPoint;
use crate::error::chain;
use crate::tasks::Tasks;

/// What is fixed when a session is made, beside its agent. Stored as JSON in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    pub(crate) environment: SessionEnvironment,
}

/// A session whose sandbox is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) session: SessionId,
    /// The session's key in the store.
    pub(crate) key: i64,
    pub(crate) environment: Arc<SessionEnvironment>,
}

/// The operator's part of every environment.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// What sandboxes may reach.
    pub operator: Operator,
    /// Bounds that environments choose by name.
    pub classes: BTreeMap<String, Limits>,
    /// The images that environments choose by name; none without one.
    pub images: Option<Arc<dyn Images>>,
    /// The image of environments that choose none. Without it they stand on the server's own root.
    pub image: Option<String>,
}

/// The images of this node.
#[async_trait]
pub trait Images: Send + Sync {
    /// What a sandbox on an image starts with; `None` when there is no such image. Called for every sandbox, so it is quick.
    fn find(&self, name: &str) -> Option<ImageRoot>;

    /// Removes the layers that were taken in for images, that no image needs any more, and that are not among those in use.
    /// Answers those that are gone. Somebody who is changing images right now is not waited for: then none go.
    async fn collect(
        &self,
        backend: &dyn Backend,
        in_use: &BTreeSet<LayerName>,
    ) -> Result<Vec<LayerName>, sandbox::images::Error>;
}

/// What the operator gives every sandbox, and what environments add to it. Clones share it.
#[derive(Clone)]
pub(crate) struct Environments(Arc<Inner>);

struct Inner {
    limits: Limits,
    root: Root,
    surroundings: Surroundings,
    backend: Arc<dyn Backend>,
    clock: Clock,
    builds: Builds,
    places: Places,
}

/// What environments are made of.
pub(crate) struct Parts {
    pub(crate) limits: Limits,
    pub(crate) root: Root,
    pub(crate) surroundings: Surroundings,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    /// The data folder of this process.
    pub(crate) home: String,
    pub(crate) tasks: Tasks,
    pub(crate) crash: Option<CrashPoint>,
}

impl Environments {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { limits, root, surroundings, backend, store, clock, ids, home, tasks, crash } = parts;
        let builds = Builds::new(builds::Parts {
            backend: Arc::clone(&backend),
            store,
            clock: clock.clone(),
            ids,
            home,
            tasks,
            crash,
        });
        let places = Places::default();
        Self(Arc::new(Inner { limits, root, surroundings, backend, clock, builds, places }))
    }

    /// The sandbox of a session that stands on `root`: what was not pinned stays as it was when the session began to.
    /// Waits until the packages that `root` has are installed here, which they are but for a session from another node.
    pub(crate) async fn spec(&self, wanted: &Wanted, root: Root) -> Result<Spec, Error> {
        let Wanted { session, key: _, environment } = wanted;
        self.complete(environment, &root).await?;
        Ok(Spec {
            session: session.clone(),
            limits: self.limits(&environment.sandbox)?,
            root,
            variables: self.variables(&environment.sandbox),
            network: self.policy(environment).await.map(Arc::new),
            makes_layer: false,
            mounts: Vec::new(),
        })
    }

    /// What new sandboxes of an environment stand on. Waits until its packages are installed.
    pub(crate) async fn root(&self, environment: &SessionEnvironment) -> Result<Root, Error> {
        let root = self.planned_root(environment)?;
        self.complete(environment, &root).await?;
        Ok(root)
    }

    /// The same, whether its packages are installed or not.
    pub(crate) fn planned_root(&self, environment: &SessionEnvironment) -> Result<Root, Error> {
        let mut root = self.base(&environment.sandbox)?;
        let layer = self.0.builds.layer(environment, &self.0.places.identity(&root));
        root.layers.extend(layer);
        Ok(root)
    }

    /// Sees to it that the packages of an environment are in `root`, which was planned for it.
    async fn complete(&self, environment: &SessionEnvironment, root: &Root) -> Result<(), Error> {
        let Some((layer, below)) = root.layers.split_last().filter(|_| environment.installs()) else {
            return Ok(());
        };
        if self.0.builds.is_ready(layer) {
            return Ok(());
        }
        let below = Root { base: root.base.clone(), layers: below.to_vec() };
        self.0.builds.want(layer, Order { environment: environment.clone(), below }).await
    }

    /// What the sandboxes of an environment may reach; `None` when they have no network.
    pub(crate) async fn policy(&self, environment: &SessionEnvironment) -> Option<Policy> {
        let hosts = self.package_hosts(environment).await;
        network::policy(environment, &self.0.surroundings.operator, &hosts)
    }

    /// Removes layers that nothing needs: those of packages that nobody has wanted for a month, and those of images that are
    /// gone. Those in `in_use` stay.
    pub(crate) async fn collect(&self, in_use: &BTreeSet<LayerName>) -> Result<(), Error> {
        self.0.builds.collect(in_use).await?;
        let Some(images) = &self.0.surroundings.images else { return Ok(()) };
        if self.0.backend.layers().await?.is_empty() {
            return Ok(());
        }
        let collected = images.collect(self.0.backend.as_ref(), in_use).await;
        let failed = |error: sandbox::images::Error| Error::Layer {
            attempt: "remove the layers of images that are gone".to_owned(),
            reason: chain(&error),
        };
        for layer in collected.map_err(failed)? {
            tracing::info!(layer = %layer, "removed layer {layer}: no image needs it and no session stands on it");
        }
        Ok(())
    }

    /// Without what the environment installs.
    fn base(&self, settings: &SandboxSettings) -> Result<Root, Error> {
        let Some(name) = self.image_name(settings) else { return Ok(self.0.root.clone()) };
        let found = self.image(settings).ok_or_else(|| Error::Layer {
            attempt: format!("use the image {name}"),
            reason: "there is no image of that name on this server; see `journeyman image list`".to_owned(),
        })?;
        Ok(found.root)
    }

    fn image_name<'a>(&'a self, settings: &'a SandboxSettings) -> Option<&'a String> {
        settings.image.as_ref().or(self.0.surroundings.image.as_ref())
    }

    fn image(&self, settings: &SandboxSettings) -> Option<ImageRoot> {
        self.0.surroundings.images.as_ref()?.find(self.image_name(settings)?)
    }

    /// The image's variables, and over them the environment's own.
    fn variables(&self, settings: &SandboxSettings) -> BTreeMap<String, String> {
        let mut variables = self.image(settings).map(|image| image.variables).unwrap_or_default();
        variables.extend(settings.variables.clone());
        variables
    }

    /// What the sandboxes of an environment are bounded by.
    pub(crate) fn limits(&self, settings: &SandboxSettings) -> Result<Limits, Error> {
        let Some(name) = &settings.resources else { return Ok(self.0.limits) };
        self.0.surroundings.classes.get(name).copied().ok_or_else(|| Error::Layer {
            attempt: format!("use the resource class {name}"),
            reason: "the configuration of this server has no class of that name".to_owned(),
        })
    }

    /// Makes the layer that a job is about, or records why it cannot be made.
    pub(crate) async fn build(&self, job: &Job, order: Order) -> Result<(), String> {
        let layer = LayerName::try_from(job.key.clone()).map_err(|error| error.to_string())?;
        let Order { environment, below } = order;
        let recipe = self.recipe(layer, &environment, &below).await.map_err(|error| chain(&error));
        self.0.builds.build(job, recipe).await
    }

    async fn recipe(
        &self,
        layer: LayerName,
        environment: &SessionEnvironment,
        root: &Root,
    ) -> Result<builds::Recipe, Error> {
        let hosts = self.package_hosts(environment).await;
        let network = network::build_policy(environment, &self.0.surroundings.operator, &hosts);
        let spec = Spec {
            limits: self.limits(&environment.sandbox)?,
            root: root.clone(),
            variables: self.variables(&environment.sandbox),
            network: network.map(Arc::new),
            makes_layer: true,
            // Each try gets one of its own.
            ..Spec::new(SessionId::parse("sesn_build").expect("a session id"))
        };
        Ok(Builds::recipe(layer, environment, spec))
    }

    /// The layer with what an environment installs.
    fn layer(&self, environment: &SessionEnvironment) -> Option<LayerName> {
        let root = self.base(&environment.sandbox).ok()?;
        self.0.builds.layer(environment, &self.0.places.identity(&root))
    }

    /// Starts what an environment installs, in the background.
    fn prepare(&self, environment: &SessionEnvironment) -> Result<(), Error> {
        let root = self.base(&environment.sandbox)?;
        if let Some(layer) = self.0.builds.layer(environment, &self.0.places.identity(&root)) {
            self.0.builds.prepare(layer, Order { environment: environment.clone(), below: root });
        }
        Ok(())
    }

    async fn package_hosts(&self, environment: &SessionEnvironment) -> places::Hosts {
        if self.0.surroundings.operator.is_off || !network::needs_package_hosts(environment) {
            return places::Hosts::default();
        }
        let Ok(root) = self.base(&environment.sandbox) else { return places::Hosts::default() };
        let Inner { limits, backend, clock, builds, places, .. } = &*self.0;
        let variables = self.variables(&environment.sandbox);
        match places.hosts(&root, &variables, *limits, backend.as_ref(), builds, clock.now()).await {
            Ok(hosts) => hosts,
            Err(reason) => {
                // The next one asks again; until then only what the operator lists counts.
                tracing::warn!(reason, "ask the package managers for their hosts failed: {reason}");
                places::Hosts::default()
            }
        }
    }
}
