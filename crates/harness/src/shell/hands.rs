//! The sandboxes of this server: what a call goes through to get into one.
//!
//! One that is in use is never ended, frozen or packed. See [`crate::life`] for what becomes of those that are not.

use std::sync::Arc;
use std::sync::Mutex;

use api::ids::Ids;
use api::time::Clock;
use sandbox::Backend;
use sandbox::Error;
use sandbox::Root;
use sandbox::Sandbox;
use sandbox::Spec;
use store::Store;
use tokio::sync::Notify;
use tokio::sync::OnceCell;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::CrashPoint;
use crate::Parts;
use crate::Tasks;
use crate::environments::Environments;
use crate::environments::Wanted;
use crate::life::Held;
use crate::life::Here;
use crate::life::Life;
use crate::life::Seat;
use crate::life::Seats;
use crate::life::Strangers;
use crate::life::telemetry;
use crate::limits;

/// The back end with an eye on what is in use.
pub(crate) struct Hands {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) environments: Environments,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) life: Life,
    pub(crate) idle_max_ms: i64,
    pub(crate) crash: Option<CrashPoint>,
    pub(crate) tasks: Tasks,
    pub(crate) seats: Seats,
    pub(crate) strangers: Strangers,
    /// The sessions that have files on this node, once that was asked for.
    pub(crate) here: OnceCell<Here>,
    /// For packing and unpacking, each of which may use a whole processor and the link to the blob store.
    pub(crate) permits: Semaphore,
    /// A sandbox has ended.
    pub(crate) ended: Notify,
    begun_at: Instant,
    /// When it was asked last, with success, what other nodes wait for.
    pub(crate) asked_at: Mutex<Option<Instant>>,
}

impl Hands {
    pub(crate) fn new(parts: &Parts, environments: Environments, strangers: Strangers, tasks: Tasks) -> Self {
        Self {
            backend: Arc::clone(&parts.hands),
            environments,
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            ids: parts.ids.clone(),
            life: parts.life.clone(),
            idle_max_ms: parts.sandbox_idle_max_ms,
            crash: parts.crash.clone(),
            tasks,
            seats: Seats::default(),
            strangers,
            here: OnceCell::new(),
            permits: Semaphore::new(limits::CHECKPOINTS_AT_ONCE_MAX),
            ended: Notify::new(),
            begun_at: Instant::now(),
            asked_at: Mutex::default(),
        }
    }

    /// The session's sandbox, in use until the guard is dropped. When there are too many, the one that idled longest goes.
    pub(crate) async fn provision(&self, wanted: &Wanted) -> Result<(Arc<dyn Sandbox>, Held), Error> {
        let held = self.seats.hold(&wanted.session, wanted.key, &self.clock);
        if let Some(sandbox) = self.warm(&held.seat) {
            telemetry::count_warm();
            return Ok((sandbox, held));
        }
        let begun = Instant::now();
        let made = self.make(wanted, held).await;
        telemetry::count_start(begun, made.is_ok());
        made
    }

    async fn make(&self, wanted: &Wanted, held: Held) -> Result<(Arc<dyn Sandbox>, Held), Error> {
        let root = match self.readiness(&held.seat) {
            Some(root) => root,
            None => {
                self.prepare(&held, wanted).await.map_err(|failure| failure.into_sandbox(&wanted.session))?
            }
        };
        let spec = self.environments.spec(wanted, root).await?;
        for _ in 0..limits::EVICTIONS_MAX {
            match self.begin(&held.seat, wanted.key, &spec).await {
                Err(Error::Full { .. }) => {}
                other => return other.map(|sandbox| (sandbox, held)),
            }
            if !self.end_longest_idle().await.map_err(|failure| failure.into_sandbox(&wanted.session))? {
                break;
            }
        }
        self.begin(&held.seat, wanted.key, &spec).await.map(|sandbox| (sandbox, held))
    }

    /// The sandbox that runs, where nothing has to be found out before: what all calls of a turn but the first meet. What a
    /// sandbox is to be (image, policy, bounds) is put together only for one that is made, or that this process finds.
    fn warm(&self, seat: &Seat) -> Option<Arc<dyn Sandbox>> {
        let is_warm = seat.is_warm() && self.is_in_touch();
        let sandbox = is_warm.then(|| self.backend.find(&seat.session)).flatten()?;
        seat.note_running();
        Some(sandbox)
    }

    /// Whether a worker may be at the files of a session although nobody waits for it: one that was given up, or whose server
    /// has died. It takes a moment to be gone.
    pub(crate) fn may_meet_worker(&self, seat: &Seat) -> bool {
        seat.is_restless() || self.begun_at.elapsed() < limits::WORKERS_OUTLIVE_MAX
    }

    async fn begin(&self, seat: &Seat, key: i64, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error> {
        let mut attempts = 0;
        loop {
            match self.backend.provision(spec).await {
                Err(Error::SetUp { .. })
                    if attempts < limits::WORKER_ENDS_MAX && self.may_meet_worker(seat) =>
                {
                    attempts += 1;
                    tokio::time::sleep(limits::WORKER_END_PAUSE).await;
                }
                made => {
                    let sandbox = made?;
                    seat.note_running();
                    self.note_made(seat, key, &spec.root);
                    return Ok(sandbox);
                }
            }
        }
    }

    /// Whether calls of this session may go straight to the back end, and what its sandbox stands on.
    pub(crate) fn readiness(&self, seat: &Seat) -> Option<Root> {
        seat.readiness().filter(|_| self.is_in_touch())
    }
}
