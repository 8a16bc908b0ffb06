//! A harness whose sandboxes build: a store in memory, a scripted model, a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use api::agents::Agent;
use api::agents::AgentCreate;
use api::environments::Config;
use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::Networking;
use api::environments::Packages;
use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::ids::WorkspaceId;
use api::sessions::SessionCreate;
use api::time::Clock;
use api::time::Timestamp;
use harness::BuildProgress;
use harness::Harness;
use harness::Life;
use harness::Parts;
use harness::Surroundings;
use model::Models;
use sandbox::Base;
use sandbox::Limits;
use sandbox::Root;
use serde_json::Value;
use serde_json::json;
use store::AgentColumns;
use store::AgentRecord;
use store::EnvironmentColumns;
use store::EnvironmentRecord;
use store::SessionRecord;
use store::Signal;
use store::Store;
use store::Target;

use crate::works::Works;

/// The message "go" makes the agent call a tool once, and "both" twice at the same time.
const SCRIPT: &str = r#"
[[rule]]
when = { user = "go" }
[[rule.reply]]
call = [{ tool = "bash", input = { command = "work" } }]
[[rule.reply]]
text = "{{result}}"

[[rule]]
when = { user = "both" }
[[rule.reply]]
call = [{ tool = "bash", input = { command = "work" } }, { tool = "bash", input = { command = "work too" } }]
[[rule.reply]]
text = "{{result}}"
"#;

pub(crate) struct Yard {
    pub(crate) harness: Harness,
    pub(crate) store: Store,
    pub(crate) works: Works,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) workspace: WorkspaceId,
}

impl Yard {
    pub(crate) async fn new(surroundings: Surroundings) -> Self {
        Self::living(surroundings, Life::new("one")).await
    }

    pub(crate) async fn living(surroundings: Surroundings, life: Life) -> Self {
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let store = Store::open(&Target::SqliteMemory, clock.clone()).await.unwrap();
        let ids = Ids::new(Clock::system());
        let works = Works::default();
        let harness = begin(&store, &works, &clock, &ids, surroundings, life);
        let workspace = ids.make();
        Self { harness, store, works, clock, ids, workspace }
    }

    pub(crate) async fn plain() -> Self {
        Self::new(Surroundings::default()).await
    }

    /// A session whose agent calls a tool at once.
    pub(crate) async fn session(&self, environment: &SessionEnvironment) -> SessionRecord {
        let create = create(&self.store, &self.ids, &self.workspace, environment).await;
        let create = SessionCreate { initial_events: message("go"), ..create };
        self.harness.create_session(self.workspace.clone(), create).await.unwrap()
    }

    /// The session with another message.
    pub(crate) async fn say(&self, session: &SessionRecord, text: &str) {
        let session = self.store.session_by_key(session.key).await.unwrap().unwrap();
        self.harness.send(&session, message(text)).await.unwrap();
    }

    /// The events of one kind, once there are so many.
    pub(crate) async fn events(&self, session: &SessionRecord, kind: &str, count: usize) -> Vec<Value> {
        let mut follower = self.store.follow(session.key);
        let found = async {
            loop {
                let log = self.store.entries(session.key, 0, 1_000).await.unwrap();
                let found: Vec<_> = log.iter().filter(|entry| entry.kind.as_str() == kind).collect();
                if found.len() >= count {
                    return found
                        .iter()
                        .map(|it| serde_json::from_str(&it.render().unwrap()).unwrap())
                        .collect();
                }
                if matches!(follower.next().await, Signal::Closed) {
                    panic!("the store was closed");
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("so many of them come")
    }

    /// The text and the error flag of the session's first tool result.
    pub(crate) async fn result(&self, session: &SessionRecord) -> (String, bool) {
        self.result_of(session, 0).await
    }

    /// The same of a later one, counted from zero.
    pub(crate) async fn result_of(&self, session: &SessionRecord, number: usize) -> (String, bool) {
        let result = self.events(session, "agent.tool_result", number + 1).await.swap_remove(number);
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        (text, result["is_error"].as_bool().unwrap())
    }

    /// Waits until the build is no longer under way.
    pub(crate) async fn built(&self, environment: &SessionEnvironment) -> harness::Build {
        let ended = async {
            loop {
                let build = self.harness.build(environment).await.unwrap();
                if !matches!(build.progress, BuildProgress::Building | BuildProgress::None) {
                    return build;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the build ends")
    }
}

/// A message to the agent.
pub(crate) fn message(text: &str) -> Vec<api::events::ClientEvent> {
    let body = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]});
    api::events::parse_send(body.to_string().as_bytes()).unwrap()
}

pub(crate) fn harness(
    store: &Store,
    works: &Works,
    clock: &Clock,
    ids: &Ids,
    node: &str,
    surroundings: Surroundings,
) -> Harness {
    begin(store, works, clock, ids, surroundings, Life::new(node))
}

fn begin(
    store: &Store,
    works: &Works,
    clock: &Clock,
    ids: &Ids,
    surroundings: Surroundings,
    life: Life,
) -> Harness {
    let config = json!({
        "providers": {"script": {"kind": "scripted", "inline": SCRIPT}},
        "routes": [{"pattern": "*", "provider": "script"}],
        "prices": {},
    });
    let harness = Harness::new(Parts {
        store: store.clone(),
        models: Arc::new(Models::new(serde_json::from_value(config).unwrap()).unwrap()),
        hands: Arc::new(works.clone()),
        clock: clock.clone(),
        ids: ids.clone(),
        node: life.node.clone(),
        policy: harness::brain::Policy::default(),
        limits: Limits::default(),
        root: Root { base: Base::Empty, layers: Vec::new() },
        surroundings,
        sandbox_idle_max_ms: 60_000,
        life,
        crash: None,
    });
    harness.start();
    harness
}

/// Stores an agent with every built-in tool, which asks nobody, and an environment; the session that has both.
pub(crate) async fn create(
    store: &Store,
    ids: &Ids,
    workspace: &WorkspaceId,
    environment: &SessionEnvironment,
) -> SessionCreate {
    let now = Timestamp(1_790_000_000_000_000);
    let tools = json!([{"type": "agent_toolset_20260401"}]);
    let agent = json!({"name": "tester", "model": "m", "tools": tools}).to_string();
    let agent = Agent::create(AgentCreate::parse(agent.as_bytes()).unwrap(), ids.make(), now);
    let columns = AgentColumns { version: 1, body: agent.render() };
    store.insert(&AgentRecord::new(agent.id.clone(), workspace.clone(), now, columns)).await.unwrap();

    let settings = serde_json::to_string(&environment.sandbox).unwrap();
    let here = EnvironmentCreate::parse(br#"{"name": "here"}"#).unwrap();
    let here = Environment::create(here, ids.make(), now).unwrap();
    let here = Environment { config: environment.config.clone(), ..here };
    let columns =
        EnvironmentColumns { name: here.name.clone(), body: here.render(), sandbox: Some(settings) };
    store.insert(&EnvironmentRecord::new(here.id.clone(), workspace.clone(), now, columns)).await.unwrap();
    let body = json!({"agent": agent.id, "environment_id": here.id}).to_string();
    SessionCreate::parse(body.as_bytes()).unwrap()
}

pub(crate) fn pip(package: &str) -> SessionEnvironment {
    let packages = Packages { pip: vec![package.to_owned()], ..Packages::default() };
    let config = Config::Cloud { networking: Networking::Unrestricted, packages };
    SessionEnvironment { config, ..SessionEnvironment::default() }
}

pub(crate) fn limited(managers: bool, hosts: &[&str]) -> SessionEnvironment {
    let networking = Networking::Limited {
        allow_mcp_servers: false,
        allow_package_managers: managers,
        allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    };
    let config = Config::Cloud { networking, packages: Packages::default() };
    SessionEnvironment { config, ..SessionEnvironment::default() }
}
