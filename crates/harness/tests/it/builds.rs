//! Packages of environments: built once, waited for, retried, collected; and what sandboxes may reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::body::Metadata;
use api::environments::Config;
use api::environments::Networking;
use api::environments::Packages;
use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use api::ids::Ids;
use api::ids::WorkspaceId;
use api::sessions::SessionAgent;
use api::time::Clock;
use api::time::Timestamp;
use egress::Policy;
use egress::policy::Access;
use harness::BuildProgress;
use harness::CreateSession;
use harness::Harness;
use harness::Life;
use harness::Operator;
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

/// Every message makes the agent call a tool once.
const SCRIPT: &str = r#"
[[rule]]
when = { user = "go" }
[[rule.reply]]
call = [{ tool = "bash", input = { command = "work" } }]
[[rule.reply]]
text = "{{result}}"
"#;

struct Yard {
    harness: Harness,
    store: Store,
    works: Works,
    clock: Clock,
    ids: Ids,
    workspace: WorkspaceId,
}

impl Yard {
    async fn new(surroundings: Surroundings) -> Self {
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let store = Store::open(&Target::SqliteMemory, clock.clone()).await.unwrap();
        let ids = Ids::new(Clock::system());
        let works = Works::default();
        let harness = harness(&store, &works, &clock, &ids, "one", surroundings);
        let workspace = ids.make();
        Self { harness, store, works, clock, ids, workspace }
    }

    async fn plain() -> Self {
        Self::new(Surroundings::default()).await
    }

    /// A session whose agent calls a tool at once.
    async fn session(&self, environment: &SessionEnvironment) -> SessionRecord {
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
            initial_events: message(),
        };
        self.harness.create_session(new).await.unwrap()
    }

    /// The text and the error flag of the session's first tool result.
    async fn result(&self, session: &SessionRecord) -> (String, bool) {
        self.result_of(session, 0).await
    }

    /// The same of a later one, counted from zero.
    async fn result_of(&self, session: &SessionRecord, number: usize) -> (String, bool) {
        let mut follower = self.store.follow(session.key);
        let found = async {
            loop {
                let log = self.store.entries(session.key, 0, 1_000).await.unwrap();
                let mut results = log.iter().filter(|entry| &*entry.kind == "agent.tool_result");
                if let Some(entry) = results.nth(number) {
                    let event: Value = serde_json::from_str(&entry.render().unwrap()).unwrap();
                    let text = event["content"][0]["text"].as_str().unwrap().to_owned();
                    return (text, event["is_error"].as_bool().unwrap());
                }
                if matches!(follower.next().await, Signal::Closed) {
                    panic!("the store was closed");
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("the call ends")
    }

    /// Waits until the build is no longer under way.
    async fn built(&self, environment: &SessionEnvironment) -> harness::Build {
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

/// The message that makes the agent call a tool.
fn message() -> Vec<api::events::ClientEvent> {
    let body = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "go"}]}]});
    api::events::parse_send(body.to_string().as_bytes()).unwrap()
}

fn harness(
    store: &Store,
    works: &Works,
    clock: &Clock,
    ids: &Ids,
    node: &str,
    surroundings: Surroundings,
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
        node: node.to_owned(),
        policy: harness::brain::Policy::default(),
        limits: Limits::default(),
        root: Root { base: Base::Empty, layers: Vec::new() },
        surroundings,
        sandbox_idle_max_ms: 60_000,
        life: Life::new(node),
        crash: None,
    });
    harness.start();
    harness
}

fn agent(ids: &Ids) -> SessionAgent {
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

fn pip(package: &str) -> SessionEnvironment {
    let packages = Packages { pip: vec![package.to_owned()], ..Packages::default() };
    let config = Config::Cloud { networking: Networking::Unrestricted, packages };
    SessionEnvironment { config, ..SessionEnvironment::default() }
}

fn limited(managers: bool, hosts: &[&str]) -> SessionEnvironment {
    let networking = Networking::Limited {
        allow_mcp_servers: false,
        allow_package_managers: managers,
        allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    };
    let config = Config::Cloud { networking, packages: Packages::default() };
    SessionEnvironment { config, ..SessionEnvironment::default() }
}

fn hosts(policy: &Policy) -> Vec<String> {
    match &policy.access {
        Access::Limited { hosts } => hosts.iter().map(|rule| rule.pattern.to_string()).collect(),
        Access::Unrestricted => vec!["everything".to_owned()],
    }
}

#[tokio::test]
async fn two_sessions_wait_for_one_build_and_stand_on_its_layer() {
    let yard = Yard::plain().await;
    yard.works.gate.send_replace(false);
    let environment = pip("a==1");
    let first = yard.session(&environment).await;
    let second = yard.session(&environment).await;
    yard.works.until_started(1).await;
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, build.step.as_deref()), (BuildProgress::Building, Some("pip")));
    assert!(yard.works.seen.lock().unwrap().layers.is_empty());
    yard.works.gate.send_replace(true);
    assert_eq!(yard.result(&first).await, ("done".to_owned(), false));
    assert_eq!(yard.result(&second).await, ("done".to_owned(), false));
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, build.error), (BuildProgress::Ready, None));
    let layers = yard.works.seen.lock().unwrap().layers.clone();
    assert_eq!(
        layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        build.layer.into_iter().collect::<Vec<_>>()
    );
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1);
    for session in [&first, &second] {
        assert_eq!(yard.works.root_of(&session.id).layers, layers);
    }
    let third = yard.session(&environment).await;
    yard.result(&third).await;
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1, "it is there already");
}

#[tokio::test]
async fn a_failure_is_shown_to_the_model_and_tried_again_after_a_minute() {
    let yard = Yard::plain().await;
    {
        let mut seen = yard.works.seen.lock().unwrap();
        seen.status = 1;
        seen.log = "looking for a\nno such package: a".to_owned();
    }
    let environment = pip("a==1");
    let (text, is_error) = yard.result(&yard.session(&environment).await).await;
    assert!(is_error);
    for part in
        ["install the packages of this environment", "pip failed with exit status 1", "no such package: a"]
    {
        assert!(text.contains(part), "{text}");
    }
    let build = yard.built(&environment).await;
    assert_eq!(build.progress, BuildProgress::Failed);
    assert_eq!(build.error.as_deref(), Some("pip failed with exit status 1"));
    assert_eq!(build.log, ["looking for a", "no such package: a"]);
    {
        let mut seen = yard.works.seen.lock().unwrap();
        assert_eq!(
            seen.removed.first(),
            seen.made.first().map(|spec| &spec.session),
            "nothing is left of it"
        );
        assert!(seen.layers.is_empty());
        seen.status = 0;
    }
    let (_, is_error) = yard.result(&yard.session(&environment).await).await;
    assert!(is_error, "too soon for another try");
    yard.clock.advance_millis(61_000);
    let (text, is_error) = yard.result(&yard.session(&environment).await).await;
    assert_eq!((text.as_str(), is_error), ("done", false));
}

#[tokio::test]
async fn a_build_begins_with_its_environment_and_again_when_asked_for() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    assert_eq!(yard.harness.build(&environment).await.unwrap().progress, BuildProgress::None);
    yard.works.seen.lock().unwrap().status = 7;
    yard.harness.prepare_environment(environment.clone());
    let progress = yard.harness.build(&environment).await.unwrap().progress;
    assert_eq!(progress, BuildProgress::Building, "from the moment that it is asked for");
    assert_eq!(yard.built(&environment).await.error.as_deref(), Some("pip failed with exit status 7"));
    yard.harness.prepare_environment(environment.clone());
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!(
        (build.progress, build.error),
        (BuildProgress::Building, None),
        "the earlier try is forgotten"
    );
    yard.built(&environment).await;
    yard.works.seen.lock().unwrap().status = 0;
    yard.harness.rebuild(&environment).await.unwrap();
    yard.works.until_started(3).await;
    assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
    let plain = SessionEnvironment::default();
    assert_eq!(yard.harness.rebuild(&plain).await.unwrap().layer, None);
}

#[tokio::test]
async fn another_server_on_the_same_files_finds_the_layer() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    yard.harness.prepare_environment(environment.clone());
    assert_eq!(yard.built(&environment).await.progress, BuildProgress::Ready);
    yard.harness.shutdown().await;
    let Yard { store, works, clock, ids, workspace, .. } = yard;
    let harness = harness(&store, &works, &clock, &ids, "two", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    let session = yard.session(&environment).await;
    assert_eq!(yard.result(&session).await, ("done".to_owned(), false));
    assert_eq!(yard.works.seen.lock().unwrap().steps.len(), 1);
}

#[tokio::test]
async fn the_layer_of_a_session_is_built_where_it_is_missing() {
    let yard = Yard::plain().await;
    let environment = pip("a");
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    let layers = yard.works.root_of(&session.id).layers;
    yard.harness.shutdown().await;
    let Yard { store, clock, ids, workspace, .. } = yard;
    // New sessions would stand on another layer by now.
    clock.advance_millis(8 * 86_400_000);
    let works = Works::default();
    let harness = harness(&store, &works, &clock, &ids, "one", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    assert_ne!(yard.harness.build(&environment).await.unwrap().layer, Some(layers[0].to_string()));
    let session = yard.store.session_by_key(session.key).await.unwrap().unwrap();
    yard.harness.send(&session, message()).await.unwrap();
    let (text, is_error) = yard.result_of(&session, 1).await;
    assert!(!is_error, "{text}");
    assert_eq!(yard.works.root_of(&session.id).layers, layers);
    assert_eq!(yard.works.seen.lock().unwrap().layers, layers);
}

#[tokio::test]
async fn a_build_that_cannot_reach_anything_says_so() {
    let yard = Yard::plain().await;
    yard.works.seen.lock().unwrap().status = 1;
    let mut environment = limited(false, &["a.example"]);
    let Config::Cloud { packages, .. } = &mut environment.config else { panic!("it is another kind") };
    packages.pip = vec!["a==1".to_owned()];
    yard.harness.prepare_environment(environment.clone());
    let error = yard.built(&environment).await.error.unwrap();
    assert!(error.contains("networking does not allow package managers"), "{error}");
}

#[tokio::test]
async fn a_build_that_a_dead_server_left_is_begun_anew() {
    let yard = Yard::plain().await;
    let environment = pip("a==1");
    let layer = {
        yard.works.gate.send_replace(false);
        yard.harness.prepare_environment(environment.clone());
        yard.works.until_started(1).await;
        yard.harness.build(&environment).await.unwrap().layer
    };
    yard.harness.shutdown().await;
    let Yard { store, works, clock, ids, workspace, .. } = yard;
    store.release_node("one").await.unwrap();
    works.gate.send_replace(true);
    let harness = harness(&store, &works, &clock, &ids, "two", Surroundings::default());
    let yard = Yard { harness, store, works, clock, ids, workspace };
    let build = yard.harness.build(&environment).await.unwrap();
    assert_eq!((build.progress, &build.layer), (BuildProgress::Failed, &layer), "{:?}", build.error);
    let session = yard.session(&environment).await;
    assert_eq!(yard.result(&session).await, ("done".to_owned(), false));
    assert_eq!(yard.built(&environment).await.layer, layer);
}

#[tokio::test]
async fn managers_say_where_packages_come_from_and_are_asked_once() {
    let operator = Operator {
        package_hosts: vec!["mirror.example".to_owned().try_into().unwrap()],
        ..Operator::default()
    };
    let yard = Yard::new(Surroundings { operator, ..Surroundings::default() }).await;
    yard.works.seen.lock().unwrap().managers = "https://index.example/simple\nhost files.example".to_owned();
    let environment = limited(true, &["a.example"]);
    let policy = yard.harness.egress(&environment).await.unwrap();
    assert_eq!(hosts(&policy), ["a.example", "index.example", "files.example", "mirror.example"]);
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    let seen = yard.works.seen.lock().unwrap();
    let given = seen.alive[&session.id].network.clone();
    assert_eq!(given.as_deref(), Some(&policy), "what is shown is what is enforced");
    assert_eq!(seen.made.len(), 2, "one sandbox to ask in, one for the session");
    assert_eq!(seen.made[0].network, None);
    assert!(seen.removed.contains(&seen.made[0].session));
}

#[tokio::test]
async fn nobody_is_asked_where_packages_come_from_when_it_does_not_matter() {
    let yard = Yard::plain().await;
    assert_eq!(hosts(&yard.harness.egress(&limited(false, &["a.example"])).await.unwrap()), ["a.example"]);
    assert_eq!(hosts(&yard.harness.egress(&SessionEnvironment::default()).await.unwrap()), ["everything"]);
    assert!(yard.works.seen.lock().unwrap().made.is_empty());
}

#[tokio::test]
async fn a_build_reaches_only_where_packages_come_from() {
    let yard = Yard::plain().await;
    yard.works.seen.lock().unwrap().managers = "https://index.example/simple".to_owned();
    let mut environment = limited(true, &["a.example"]);
    environment.sandbox.setup = Some("true".to_owned());
    environment.sandbox.variables.insert("MODE".to_owned(), "test".to_owned());
    yard.harness.prepare_environment(environment.clone());
    yard.built(&environment).await;
    let seen = yard.works.seen.lock().unwrap();
    let build = &seen.made[1];
    assert_eq!(hosts(build.network.as_ref().unwrap()), ["index.example"]);
    assert_eq!(build.variables, environment.sandbox.variables);
}

#[tokio::test]
async fn a_resource_class_bounds_the_sandbox_and_an_unknown_one_is_refused() {
    let large = Limits { memory_bytes_max: 1 << 40, ..Limits::default() };
    let classes = BTreeMap::from([("large".to_owned(), large)]);
    let yard = Yard::new(Surroundings { classes, ..Surroundings::default() }).await;
    let with = |resources: &str| SandboxSettings {
        resources: Some(resources.to_owned()),
        ..SandboxSettings::default()
    };
    yard.harness.check_settings(&with("large")).unwrap();
    let refused = yard.harness.check_settings(&with("huge")).unwrap_err();
    assert_eq!(
        (refused.status, refused.message.starts_with("resources: ")),
        (400, true),
        "{}",
        refused.message
    );
    let environment = SessionEnvironment { sandbox: with("large"), ..SessionEnvironment::default() };
    let session = yard.session(&environment).await;
    yard.result(&session).await;
    assert_eq!(yard.works.seen.lock().unwrap().alive[&session.id].limits, large);
}
