//! The loop: takes what clients send, lets the brain decide, performs, and writes everything down.
//!
//! [`Harness`] is what the routes call. Behind it one driver task per *running* session (see `shell`) holds the
//! session's lease, folds its log and performs what [`brain`] asks for; an idle session has no task and no memory here.
//! Killing the process at any point is safe: whoever takes the lease next goes on from the log.

pub mod brain;
mod crash;
mod environments;
mod error;
pub mod jobs;
mod life;
mod limits;
mod send;
mod sessions;
mod shell;
mod tasks;
mod telemetry;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use api::ids::Ids;
use api::time::Clock;
use model::Models;
use sandbox::Backend;
use sandbox::Limits;
use sandbox::Root;
use store::Claim;
use store::Store;

pub use crash::CrashPoint;
pub use environments::Build;
pub use environments::BuildProgress;
use environments::Environments;
pub use environments::Images;
pub use environments::Operator;
pub use environments::Surroundings;
pub use error::Error;
pub use error::stored;
pub use life::Life;
pub use life::SandboxState;
pub use life::SandboxStatus;
pub use life::layers_in_use;
pub use sessions::sandbox_settings;
pub use sessions::snapshot;
pub use tasks::Tasks;

/// What a harness is made of.
pub struct Parts {
    /// Durable state.
    pub store: Store,
    /// The model providers.
    pub models: Arc<Models>,
    /// Where tools run.
    pub hands: Arc<dyn Backend>,
    /// The clock.
    pub clock: Clock,
    /// Source of identifiers.
    pub ids: Ids,
    /// Name of this process among those that share the store; a new one at each start.
    pub node: String,
    /// Bounds of the loop.
    pub policy: brain::Policy,
    /// Bounds of each sandbox.
    pub limits: Limits,
    /// What each sandbox sees as its root file system.
    pub root: Root,
    /// What the operator says of environments.
    pub surroundings: Surroundings,
    /// How long a sandbox may idle before it is ended, in milliseconds. Its files stay.
    pub sandbox_idle_max_ms: i64,
    /// How long sandboxes and their files live, and where checkpoints go.
    pub life: Life,
    /// Where to die, in crash tests.
    pub crash: Option<CrashPoint>,
}

/// The loop over all sessions of this process. Clones share it.
#[derive(Clone)]
pub struct Harness(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) tasks: Tasks,
    pub(crate) hands: shell::Hands,
    /// Sessions that are driven here, by store key.
    pub(crate) drivers: Mutex<HashMap<i64, shell::Seat>>,
    /// States of sessions that came to rest lately.
    pub(crate) resting: shell::Resting,
}

impl Harness {
    /// A harness that drives nothing yet; see [`Harness::start`].
    pub fn new(parts: Parts) -> Self {
        let tasks = Tasks::new();
        let strangers = life::Strangers::default();
        let environments = Environments::new(environments::Parts {
            limits: parts.limits,
            root: parts.root.clone(),
            surroundings: parts.surroundings.clone(),
            backend: strangers.watch(Arc::clone(&parts.hands)),
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            ids: parts.ids.clone(),
            home: parts.life.node.clone(),
            tasks: tasks.clone(),
            crash: parts.crash.clone(),
        });
        let hands = shell::Hands::new(&parts, environments, strangers, tasks.clone());
        Self(Arc::new(Inner {
            parts,
            tasks,
            hands,
            drivers: Mutex::default(),
            resting: shell::Resting::default(),
        }))
    }

    /// Takes up the sessions whose drivers died, now and from here on, and keeps the leases of its own alive.
    pub fn start(&self) {
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn("sweep leases", shell::sweep(inner));
        life::start(&self.0);
        jobs::start(&self.0);
    }

    /// Does at once what is otherwise done from time to time: freezes and ends sandboxes that idle, checkpoints those that
    /// have ended, and removes what no session needs any more. What fails is logged and tried again in its time.
    pub async fn tidy_sandboxes(&self) {
        life::tidy(&self.0).await;
    }

    /// Stops driving. Sessions that run stay as they are in the log and go on at the next start; jobs are given back.
    pub async fn shutdown(&self) {
        self.0.tasks.shutdown().await;
        jobs::stop(&self.0).await;
    }

    /// How sandboxes are made and bounded here; `None` before that is known.
    pub fn sandbox_status(&self) -> Option<sandbox::Status> {
        self.0.parts.hands.status()
    }

    /// How many sessions are driven here right now.
    pub fn running(&self) -> usize {
        self.0.drivers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }
}

/// Describes the metrics of this crate to the process's recorder.
pub fn describe_metrics() {
    telemetry::describe();
    life::telemetry::describe();
}

impl Inner {
    /// Whether no driver of this node is at work on the session.
    pub(crate) fn is_at_rest(&self, key: i64) -> bool {
        !self.drivers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(&key)
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim { node: self.parts.node.clone(), ttl_ms: limits::LEASE_TTL_MS }
    }

    /// Runs a write and what must follow it to their end, even when the client that wanted it hangs up meanwhile.
    pub(crate) async fn see_through<T: Send + 'static>(
        &self,
        name: &'static str,
        write: impl Future<Output = Result<T, store::Error>> + Send + 'static,
    ) -> Result<T, store::Error> {
        let stopped = || store::Error::Stopped { op: name, reason: "the server is shutting down".to_owned() };
        self.tasks.spawn(name, write).await.ok().flatten().ok_or_else(stopped)?
    }
}
