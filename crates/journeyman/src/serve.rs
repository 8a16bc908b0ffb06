//! The server: its parts put together, started, and stopped in order.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use api::ids::Ids;
use api::time::Clock;
use harness::CrashPoint;
use harness::Harness;
use model::Models;
use sandbox::Base;
use sandbox::Root;
use store::Blobs;
use store::Store;
use store::Target;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blobs;
use crate::config::Config;
use crate::config::Settings;
use crate::data;
use crate::environment::Environment;
use crate::hands::Hands;
use crate::keys;
use crate::node::Node;
use crate::surroundings;

/// How long a server may take to stop; then the process ends all the same, which is always safe.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct Running {
    /// `http://ADDRESS`
    pub(crate) url: String,
    /// A key that works, when this process knows one.
    pub(crate) key: Option<String>,
    /// Whether the key was made just now.
    pub(crate) is_new_key: bool,
    /// The store, for what a command does beside the API.
    pub(crate) store: Store,
    hands: Hands,
    harness: Harness,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    _node: Node,
}

/// `serve`
pub(crate) async fn run(config: &Config, environment: &Environment) -> Result<ExitCode> {
    let listen = config.settings.server.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    // From here on a signal stops the server in order.
    let stop = stop_signal()?;
    let running = start(&config.settings, environment, listener).await?;
    if let (true, Some(key)) = (running.is_new_key, &running.key) {
        eprintln!("This server's first key, shown only once:\n\n    {key}\n");
    }
    println!("listening on {}", running.url);
    if config.settings.models.providers.is_empty() {
        tracing::warn!(
            "no model is configured: set JOURNEYMAN_ANTHROPIC_API_KEY or JOURNEYMAN_OPENAI_BASE_URL, \
             or name a provider in journeyman.toml"
        );
    }
    stop.await;
    tracing::info!("stopping");
    running.leave().await;
    Ok(ExitCode::SUCCESS)
}

/// Starts a server on a listener. The sandboxes' spawner starts in the background, so that the first call need not wait
/// for it, and a host that cannot make sandboxes says so at once.
pub(crate) async fn start(
    settings: &Settings,
    environment: &Environment,
    listener: TcpListener,
) -> Result<Running> {
    let clock = Clock::system();
    let ids = Ids::new(clock.clone());
    let node = Node::claim(data::open(&settings.server.data)?, &ids)?;
    let store = open_store(settings).await?;
    let released =
        store.release_node(&node.prefix).await.context("take over from the last server on this data")?;
    if released > 0 {
        tracing::info!(sessions = released, "going on with {released} sessions of the last server");
    }
    let fixed = environment.get("JOURNEYMAN_API_KEY");
    let made = keys::ensure(&store, &clock, &ids, fixed).await?;
    let is_new_key = made.is_some();
    let models = Arc::new(Models::new(settings.models.clone()).context("set up the models")?);
    let crash = environment.get("JOURNEYMAN_CRASH_AT").map(|point| {
        CrashPoint::parse(point).with_context(|| format!("JOURNEYMAN_CRASH_AT names no known point: {point}"))
    });
    let hands = Hands::open(settings)?;
    let kept = blobs::target(settings, environment, blobs::PATIENCE);
    blobs::tell(settings, &kept);
    let blobs = Blobs::open(&kept).await.context("open the blob store")?;
    let base = settings.sandbox.root_fs.clone().map_or(Base::Host, Base::Directory);
    let harness = Harness::new(harness::Parts {
        store: store.clone(),
        models: Arc::clone(&models),
        hands: hands.backend(),
        clock: clock.clone(),
        ids: ids.clone(),
        node: node.name.clone(),
        policy: harness::brain::Policy::default(),
        limits: surroundings::limits(settings),
        root: Root { base, layers: Vec::new() },
        surroundings: surroundings::of(settings, &settings.server.data),
        sandbox_idle_max_ms: i64::from(settings.sandbox.idle_minutes_max) * 60_000,
        life: life(settings, &node.prefix, Some(blobs).filter(|_| hands.packs())),
        crash: crash.transpose()?,
    });
    harness.start();
    let address = listener.local_addr().context("read the address that is listened on")?;
    let shutdown = CancellationToken::new();
    let parts = server::Parts {
        store: store.clone(),
        harness: harness.clone(),
        models,
        clock,
        ids,
        shutdown: shutdown.clone(),
        limits: server_limits(settings),
    };
    let tasks = TaskTracker::new();
    tasks.spawn(server::serve(listener, parts));
    tasks.spawn(hands.clone().begin());
    tasks.close();
    let key = made.or_else(|| fixed.map(str::to_owned));
    Ok(Running {
        url: format!("http://{address}"),
        key,
        is_new_key,
        store,
        hands,
        harness,
        shutdown,
        tasks,
        _node: node,
    })
}

impl Running {
    /// Stops, and ends every sandbox of the data folder with the spawner: nothing of this server is left.
    pub(crate) async fn end(self) -> Result<()> {
        let hands = self.hands.clone();
        self.stop().await;
        hands.end().await
    }

    /// Stops. Sandboxes stay for the next server to adopt; where there are none, the spawner goes too.
    async fn leave(self) {
        let hands = self.hands.clone();
        self.stop().await;
        hands.leave().await;
    }

    /// Stops accepting, ends streams and requests, and gives running sessions up to the next start.
    pub(crate) async fn stop(self) {
        let stop = async {
            self.shutdown.cancel();
            self.harness.shutdown().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(STOP_MAX, stop).await.is_err() {
            tracing::warn!("not everything ended within {STOP_MAX:?}: leaving it to the next start");
        }
    }
}

/// Opens the configured store and brings its schema up to date.
pub(crate) async fn open_store(settings: &Settings) -> Result<Store> {
    let target = match &settings.database.url {
        Some(url) => Target::Postgres(url.clone()),
        None => Target::Sqlite(data::open(&settings.server.data)?.join("journeyman.db")),
    };
    Store::open(&target, Clock::system()).await.context("open the store")
}

/// Resolves at SIGTERM or SIGINT. The handlers are in place once this returns.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn life(settings: &Settings, node: &str, blobs: Option<Blobs>) -> harness::Life {
    let sandbox = &settings.sandbox;
    harness::Life {
        node: node.to_owned(),
        blobs,
        freeze_after_ms: i64::from(sandbox.freeze_seconds) * 1000,
        keep_ms: i64::from(sandbox.days_max) * 86_400_000,
        files_kept_ms: i64::from(sandbox.files_hours_max) * 3_600_000,
    }
}

fn server_limits(settings: &Settings) -> server::Limits {
    server::Limits {
        body_bytes_max: settings.limits.body_bytes_max,
        streams_max: settings.limits.streams_max,
        heartbeat: Duration::from_millis(settings.limits.heartbeat_ms),
        ..server::Limits::default()
    }
}
