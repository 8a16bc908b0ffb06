//! A server for one test, ended with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::ids::Ids;
use api::ids::SessionId;
use api::ids::WorkspaceId;
use api::time::Clock;
use async_trait::async_trait;
use harness::Harness;
use harness::Images;
use harness::Operator;
use harness::Surroundings;
use model::Config;
use model::ProviderConfig;
use model::Route;
use model::ScriptedConfig;
use sandbox::Adopted;
use sandbox::Backend;
use sandbox::Report;
use sandbox::Sandbox;
use sandbox::Spec;
use server::Limits;
use sha2::Digest;
use sha2::Sha256;
use store::KeyColumns;
use store::KeyRecord;
use store::Store;
use store::Target;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;

/// What the model says.
const SCRIPT: &str = r#"
[[rule]]
when = { user = "wait for ever" }
[[rule.reply]]
delay_ms = 3600000
text = "never said"

[[rule]]
when = { user = "work" }
[[rule.reply]]
call = [{ tool = "bash", input = { command = "true" } }]
[[rule.reply]]
text = "It cannot be done."

[[rule]]
when = { user = "think" }
[[rule.reply]]
thinking = "Hm."
text = "Four words are here."

[otherwise]
text = "Hello from the script."
"#;

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    harness: Harness,
    http: reqwest::Client,
    base: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let clock = Clock::system();
        let ids = Ids::new(clock.clone());
        let store = Store::open(&Target::SqliteMemory, clock.clone()).await.unwrap();
        let models = Arc::new(model::Models::new(models()).unwrap());
        let harness = Harness::new(harness::Parts {
            store: store.clone(),
            models: Arc::clone(&models),
            hands: Arc::new(NoHands),
            clock: clock.clone(),
            ids: ids.clone(),
            node: "test".into(),
            policy: harness::brain::Policy::default(),
            limits: sandbox::Limits::default(),
            root: sandbox::Root::default(),
            surroundings: surroundings(),
            sandbox_idle_max_ms: 60_000,
            life: harness::Life::new("test"),
            crash: None,
        });
        harness.start();
        let shutdown = CancellationToken::new();
        let parts = server::Parts {
            store: store.clone(),
            harness: harness.clone(),
            models,
            clock,
            ids: ids.clone(),
            shutdown: shutdown.clone(),
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskTracker::new();
        tasks.spawn(server::serve(listener, parts));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { store, ids, shutdown, tasks, harness, http, base }
    }

    /// A client with a new key of a new workspace.
    pub(crate) async fn client(&self) -> Client {
        self.client_of(&self.ids.make()).await
    }

    /// A client with a new key of this workspace.
    pub(crate) async fn client_of(&self, workspace: &WorkspaceId) -> Client {
        let id: api::ids::ApiKeyId = self.ids.make();
        let key = format!("sk-{id}");
        let columns = KeyColumns { name: "test".into(), hash: Sha256::digest(key.as_bytes()).into() };
        let record = KeyRecord::new(id, workspace.clone(), Clock::system().now(), columns);
        self.store.insert(&record).await.unwrap();
        Client { http: self.http.clone(), base: self.base.clone(), key }
    }

    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// Stops the server and waits until every connection has ended.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.expect("the server ends");
        self.harness.shutdown().await;
    }
}

/// One resource class, one image, and an operator with rules of every kind.
fn surroundings() -> Surroundings {
    let pattern = |text: &str| text.to_owned().try_into().unwrap();
    let operator = Operator {
        package_hosts: vec![pattern("mirror.example")],
        blocked_hosts: vec![pattern("*.bad.example")],
        refused_networks: vec!["203.0.114.0/24".parse().unwrap()],
        bytes_max: Some(1_000),
        ..Operator::default()
    };
    let classes = [("large".to_owned(), sandbox::Limits::default())].into();
    Surroundings { operator, classes, images: Some(Arc::new(OneImage)), image: None }
}

struct OneImage;

#[async_trait]
impl Images for OneImage {
    fn find(&self, name: &str) -> Option<sandbox::ImageRoot> {
        let root = sandbox::ImageRoot {
            root: sandbox::Root::default(),
            variables: std::collections::BTreeMap::new(),
        };
        (name == "full").then_some(root)
    }

    async fn collect(
        &self,
        _: &dyn Backend,
        _: &BTreeSet<sandbox::LayerName>,
    ) -> Result<Vec<sandbox::LayerName>, sandbox::images::Error> {
        Ok(Vec::new())
    }
}

fn models() -> Config {
    let scripted = ScriptedConfig { script: None, inline: Some(SCRIPT.into()) };
    let route =
        |pattern: &str| Route { pattern: pattern.into(), provider: "script".into(), upstream_model: None };
    Config {
        providers: [("script".to_owned(), ProviderConfig::Scripted(scripted))].into(),
        routes: vec![route("scripted"), route("scripted-two"), route("scripted-three"), route("claude-*")],
        ..Config::default()
    }
}

/// No test of this crate calls a tool.
struct NoHands;

#[async_trait]
impl Backend for NoHands {
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, sandbox::Error> {
        let reason = format!("session {} gets none here", spec.session);
        Err(sandbox::Error::Unavailable { reason, remedy: "run another test".to_owned() })
    }

    async fn adopt(&self, _: &SessionId) -> Result<Adopted, sandbox::Error> {
        Ok(Adopted { sandbox: None, sole_since: None })
    }

    async fn list(&self) -> Result<Vec<SessionId>, sandbox::Error> {
        Ok(Vec::new())
    }

    async fn destroy(&self, _: &SessionId, _: bool) -> Result<(), sandbox::Error> {
        Ok(())
    }

    fn report(&self) -> Report {
        Report { mode: None, primitives: Vec::new() }
    }
}
