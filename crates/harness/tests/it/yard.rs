//! A harness whose sandboxes build: a store in memory, a scripted model, a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use api::body::Metadata;
use api::environments::Config;
use api::environments::Networking;
use api::environments::Packages;
use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::ids::WorkspaceId;
use api::sessions::SessionAgent;
use api::time::Clock;
use api::time::Timestamp;
use harness::BuildProgress;
use harness::CreateSession;
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
        let now = self.clock.now();
        let record = EnvironmentRecord {
            id: self.ids.make(),
            workspace: self.workspace.clone(),
            name: "here".to_owned(),
            created_at: now,
            updated_at: now,
            archived_at: None,
            body: "{}".to_owned(),
            sandbox: None,
        };
        self.store.insert_environment(&record).await.unwrap();
        let new = CreateSession {
            workspace: self.workspace.clone(),
            agent: agent(&self.ids),
            environment_id: record.id,
            environment: environment.clone(),
            title: None,
            metadata: Metadata::new(),
            initial_events: message("go"),
        };
        self.harness.create_session(new).await.unwrap()
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

/// An agent with every built-in tool, which asks nobody.
pub(crate) fn agent(ids: &Ids) -> SessionAgent {
    serde_json::from_value(json!({
        "type": "agent", "id": ids.make::<api::ids::kind::Agent>(), "version": 1, "name": "tester", "description": null,
        "model": {"id": "m", "effort": {"type": "high"}, "inference_geo": null, "speed": "standard"},
        "system": null, "mcp_servers": [], "skills": [], "multiagent": null,
        "tools": [{
            "type": "agent_toolset_20260401", "configs": [],
            "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
        }],
        "execution_identity": {"type": "service_account"},
    }))
    .unwrap()
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
