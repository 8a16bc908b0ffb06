//! Sessions and threads: references to agents, overrides, initial events, updates, and answers.

use api::agents::Agent;
use api::agents::AgentCreate;
use api::completion::Usage;
use api::ids::AgentId;
use api::ids::EnvironmentId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::sessions::Progress;
use api::sessions::Session;
use api::sessions::SessionAgent;
use api::sessions::SessionCreate;
use api::sessions::SessionUpdate;
use api::threads::Thread;
use api::time::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::NOON;
use crate::bytes;
use crate::message;
use crate::parse;

const NOT_BUILT: &str = "is not supported by this server yet";

fn agent() -> Agent {
    let body = json!({
        "name": "coder",
        "model": { "id": "m", "effort": "low", "inference_geo": "us" },
        "system": "Be brief.",
        "tools": [{ "type": "agent_toolset_20260401" }],
    });
    Agent::create(AgentCreate::parse(&bytes(&body)).unwrap(), AgentId::parse("agent_1").unwrap(), NOON)
}

fn create(fields: Value) -> Result<SessionCreate, api::errors::Error> {
    let mut body = json!({ "agent": "agent_1", "environment_id": "env_1" });
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    SessionCreate::parse(&bytes(&body))
}

fn refused(fields: Value) -> String {
    message(create(fields))
}

fn resolve(overrides: Value) -> Result<SessionAgent, api::errors::Error> {
    let mut reference = overrides;
    reference["type"] = "agent_with_overrides".into();
    reference["id"] = "agent_1".into();
    SessionAgent::resolve(&agent(), &create(json!({ "agent": reference }))?.agent)
}

#[test]
fn an_agent_is_named_by_its_id_or_by_an_object() {
    let plain = create(json!({})).unwrap();
    assert_eq!(
        (plain.agent.id.as_str(), plain.agent.version, plain.agent.overrides),
        ("agent_1", None, None)
    );
    let pinned = create(json!({ "agent": { "type": "agent", "id": "agent_1", "version": 3 } })).unwrap();
    assert_eq!((pinned.agent.id.as_str(), pinned.agent.version), ("agent_1", Some(3)));
    let alias = SessionCreate::parse(br#"{"agent_id": "agent_1", "environment_id": "env_1"}"#).unwrap();
    assert_eq!(alias, create(json!({})).unwrap());
}

#[test]
fn a_wrong_reference_is_named() {
    assert_eq!(message(SessionCreate::parse(b"{}")), "agent: Field required");
    assert_eq!(message(SessionCreate::parse(br#"{"agent": "agent_1"}"#)), "environment_id: Field required");
    assert_eq!(
        refused(json!({ "agent": "sesn_1" })),
        "agent: Input should be an agent's id, which starts with 'agent_'"
    );
    assert_eq!(
        refused(json!({ "environment_id": "x" })),
        "environment_id: Input should be an environment's id, which starts with 'env_'"
    );
    assert_eq!(refused(json!({ "agent": { "id": "agent_1" } })), "agent.type: Field required");
    let zero = json!({ "type": "agent", "id": "agent_1", "version": 0 });
    assert_eq!(
        refused(json!({ "agent": zero })),
        "agent.version: Input should be greater than or equal to 1"
    );
    let overridden = json!({ "type": "agent", "id": "agent_1", "system": "x" });
    assert_eq!(refused(json!({ "agent": overridden })), "agent.system: Extra inputs are not permitted");
    assert_eq!(refused(json!({ "agent_id": "agent_1" })), "agent: Extra inputs are not permitted");
}

#[test]
fn a_session_keeps_its_agent_as_it_was() {
    let session_agent = SessionAgent::resolve(&agent(), &create(json!({})).unwrap().agent).unwrap();
    let mut expected = parse(&agent().render());
    for field in ["metadata", "created_at", "updated_at", "archived_at"] {
        expected.as_object_mut().unwrap().shift_remove(field);
    }
    assert_eq!(parse(&session_agent.render()), expected);
    let read: SessionAgent = serde_json::from_str(&session_agent.render()).unwrap();
    assert_eq!(read, session_agent);
}

#[test]
fn an_archived_agent_cannot_start_a_session() {
    let archived = agent().archive(NOON).unwrap();
    let text = message(SessionAgent::resolve(&archived, &create(json!({})).unwrap().agent));
    assert_eq!(text, "agent: Agent agent_1 is archived and cannot be used in new sessions");
}

#[test]
fn an_override_replaces_and_what_is_left_out_stays() {
    let resolved = resolve(json!({ "system": null, "tools": [] })).unwrap();
    let expected = SessionAgent {
        system: None,
        tools: Vec::new(),
        ..SessionAgent::resolve(&agent(), &create(json!({})).unwrap().agent).unwrap()
    };
    assert_eq!(resolved, expected);
}

#[test]
fn an_overridden_model_runs_at_its_default_effort() {
    for model in [json!({ "id": "m", "effort": "max" }), json!("m"), json!({ "id": "m" })] {
        let resolved = resolve(json!({ "model": model })).unwrap();
        let expected =
            json!({ "id": "m", "effort": { "type": "high" }, "inference_geo": null, "speed": "standard" });
        assert_eq!(parse(&resolved.render())["model"], expected);
    }
}

#[test]
fn a_model_cannot_be_overridden_with_null() {
    let error = resolve(json!({ "model": null })).unwrap_err();
    assert_eq!(error.code, Some("agent_model_required"));
}

#[test]
fn an_override_is_named_within_the_agent() {
    let text = message(resolve(json!({ "tools": [{ "type": "agent_toolset_20260401", "configs": [{}] }] })));
    assert_eq!(text, "agent.tools.0.configs.0.name: Field required");
    let server = json!({ "type": "url", "name": "docs", "url": "https://example.com" });
    let text = message(resolve(json!({ "mcp_servers": [server] })));
    assert_eq!(text, format!("agent.mcp_servers: Connecting to MCP servers {NOT_BUILT}"));
}

#[test]
fn what_a_session_cannot_have_yet_is_refused_after_its_shape_was_checked() {
    let with = |field: &str, value: Value| refused(json!({ field: value }));
    assert_eq!(
        with("resources", json!([{ "type": "file", "file_id": "file_1" }])),
        format!("resources: Mounting resources {NOT_BUILT}")
    );
    assert_eq!(with("resources", json!([{ "type": "file" }])), "resources.0.file_id: Field required");
    assert_eq!(with("vault_ids", json!(["vlt_1"])), format!("vault_ids: Attaching vaults {NOT_BUILT}"));
    let budget =
        |amount: &str| json!({ "type": "limit", "max_list_cost": { "amount": amount, "currency": "USD" } });
    assert_eq!(with("budget", budget("125")), format!("budget: A budget {NOT_BUILT}"));
    for amount in ["", "0", "012", "1.5", "-1"] {
        let text = with("budget", budget(amount));
        assert!(text.starts_with("budget.max_list_cost.amount: Input should be whole cents"), "{text}");
    }
    assert!(create(json!({ "resources": [], "vault_ids": [], "budget": null, "title": null })).is_ok());
}

#[test]
fn initial_events_are_messages_and_no_more_than_fifty() {
    let hi = json!({ "type": "user.message", "content": [{ "type": "text", "text": "hi" }] });
    assert_eq!(create(json!({ "initial_events": [hi, hi] })).unwrap().initial_events.len(), 2);
    assert_eq!(create(json!({ "initial_events": [] })).unwrap().initial_events, []);
    assert_eq!(create(json!({ "initial_events": null })).unwrap().initial_events, []);
    let text = refused(json!({ "initial_events": vec![hi.clone(); 51] }));
    assert_eq!(text, "initial_events: List should have at most 50 items after validation, not 51");
    let text = refused(json!({ "initial_events": [hi, { "type": "user.interrupt" }] }));
    assert!(text.starts_with("initial_events.1: Input tag 'user.interrupt'"), "{text}");
}

#[test]
fn initial_events_hold_one_outcome_and_a_hundred_file_documents_at_most() {
    let outcome = json!({ "type": "user.define_outcome", "description": "d", "rubric": { "type": "text", "content": "r" } });
    let text = refused(json!({ "initial_events": [outcome, outcome] }));
    assert_eq!(text, "initial_events: At most one `user.define_outcome` event is permitted");
    let text = refused(json!({ "initial_events": [{ "type": "user.define_outcome", "description": "d" }] }));
    assert_eq!(text, "initial_events.0.rubric: Field required");
    let document = json!({ "type": "document", "source": { "type": "file", "file_id": "file_1" } });
    let event = json!({ "type": "user.message", "content": vec![document; 51] });
    let text = refused(json!({ "initial_events": [event, event] }));
    assert_eq!(text, "initial_events: At most 100 documents from files are permitted, not 102");
}

fn changes(body: &Value) -> Result<api::sessions::SessionChanges, api::errors::Error> {
    let session_agent = SessionAgent::resolve(&agent(), &create(json!({})).unwrap().agent).unwrap();
    let metadata = json!({ "a": "1" });
    SessionUpdate::parse(&bytes(body))?.changes(Some("old"), metadata.as_object().unwrap(), &session_agent)
}

#[test]
fn an_update_tells_what_it_changes() {
    assert!(changes(&json!({})).unwrap().is_empty());
    let same = json!({ "title": "old", "metadata": { "a": "1", "b": null }, "agent": { "tools": [{ "type": "agent_toolset_20260401" }] } });
    assert!(changes(&same).unwrap().is_empty());
    let found = changes(&json!({ "title": null, "metadata": { "a": null } })).unwrap();
    assert_eq!((found.title, found.metadata), (Some(None), Some(serde_json::Map::new())));
    let found = changes(&json!({ "agent": { "tools": [] } })).unwrap();
    assert_eq!(found.agent.unwrap().tools, []);
}

#[test]
fn an_update_cannot_touch_vaults_or_add_a_budget() {
    let text = message(changes(&json!({ "vault_ids": [] })));
    assert_eq!(text, "vault_ids: Changing the vaults of a session is not yet supported");
    let budget = json!({ "type": "limit", "max_list_cost": { "amount": "1", "currency": "USD" } });
    let error = changes(&json!({ "budget": budget })).unwrap_err();
    assert_eq!(error.code, Some("budget_create_only"));
    assert!(changes(&json!({ "budget": null })).unwrap().is_empty());
    let text = message(changes(&json!({ "agent": { "system": "x" } })));
    assert_eq!(text, "agent.system: Extra inputs are not permitted");
}

fn progress() -> Progress {
    Progress {
        usage: Usage {
            input_tokens: 1,
            output_tokens: 2,
            cache_read_input_tokens: 3,
            cache_creation_5m_input_tokens: 4,
            cache_creation_1h_input_tokens: 5,
        },
        active_ms: 1_500,
        running_since: Some(NOON.plus_millis(8_000)),
        startup_ms: Some(12),
        has_idled: true,
        list_cost_microcents: Some(1_500_000),
    }
}

fn session(progress: &Progress, status: &str, agent: &str) -> Value {
    let session = Session {
        id: &SessionId::parse("sesn_1").unwrap(),
        agent: serde_json::from_str(agent).unwrap(),
        environment_id: &EnvironmentId::parse("env_1").unwrap(),
        status: api::sessions::SessionStatus::parse(status).unwrap(),
        title: Some("a \"title\""),
        metadata: serde_json::from_str(r#"{"a":"1"}"#).unwrap(),
        progress,
        created_at: NOON,
        updated_at: NOON.plus_millis(5_000),
        archived_at: None,
    };
    parse(&session.render(NOON.plus_millis(10_000)))
}

#[test]
fn a_session_is_answered_with_every_field() {
    let usage = json!({
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation": { "ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5 },
        "active_seconds": 3.5,
        "server_tool_use": { "web_search_requests": 0, "web_fetch_requests": 0 },
        "list_cost": { "amount": "2", "currency": "USD" },
    });
    let expected = json!({
        "id": "sesn_1",
        "type": "session",
        "agent": { "type": "agent" },
        "environment_id": "env_1",
        "status": "running",
        "title": "a \"title\"",
        "metadata": { "a": "1" },
        "resources": [],
        "vault_ids": [],
        "budget": null,
        "deployment_id": null,
        "outcome_evaluations": [],
        "usage": usage,
        "stats": { "active_seconds": 3.5, "duration_seconds": 10.0 },
        "created_at": "2027-01-15T08:00:00.000000Z",
        "updated_at": "2027-01-15T08:00:05.000000Z",
        "archived_at": null,
    });
    assert_eq!(session(&progress(), "running", r#"{"type":"agent"}"#), expected);
}

#[test]
fn the_duration_of_a_terminated_session_stands_still() {
    let answer = session(&Progress::default(), "terminated", "{}");
    assert_eq!(answer["stats"], json!({ "active_seconds": 0.0, "duration_seconds": 5.0 }));
}

#[test]
fn a_cost_that_is_not_known_is_absent() {
    let answer = session(&Progress::default(), "idle", "{}");
    assert_eq!(answer["usage"].get("list_cost"), None);
}

#[test]
fn progress_survives_the_store_and_old_records() {
    let text = serde_json::to_string(&progress()).unwrap();
    assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress());
    assert_eq!(serde_json::from_str::<Progress>("{}").unwrap(), Progress::default());
}

fn thread(progress: &Progress, now: Timestamp) -> Value {
    let thread = Thread {
        id: &ThreadId::parse("sthr_1").unwrap(),
        session_id: &SessionId::parse("sesn_1").unwrap(),
        agent: serde_json::from_str(r#"{"type":"agent","name":"coder","multiagent":null}"#).unwrap(),
        status: api::sessions::SessionStatus::Idle,
        progress,
        created_at: NOON,
        updated_at: NOON,
        archived_at: None,
    };
    parse(&thread.render(now))
}

#[test]
fn a_thread_that_never_ran_has_no_usage_and_no_stats() {
    let expected = json!({
        "id": "sthr_1",
        "type": "session_thread",
        "session_id": "sesn_1",
        "parent_thread_id": null,
        "workflow_run_id": null,
        "agent": { "type": "agent", "name": "coder" },
        "status": "idle",
        "usage": null,
        "stats": null,
        "created_at": "2027-01-15T08:00:00.000000Z",
        "updated_at": "2027-01-15T08:00:00.000000Z",
        "archived_at": null,
    });
    assert_eq!(thread(&Progress::default(), NOON), expected);
}

#[test]
fn a_thread_that_came_to_rest_has_usage_and_stats() {
    let first_run = Progress { running_since: Some(NOON), ..Progress::default() };
    let answer = thread(&first_run, NOON.plus_millis(2_000));
    assert_eq!(answer["usage"], Value::Null);
    let stats = json!({ "active_seconds": 2.0, "duration_seconds": 2.0, "startup_seconds": null });
    assert_eq!(answer["stats"], stats);
    let answer = thread(&progress(), NOON.plus_millis(10_000));
    assert_eq!(answer["usage"]["input_tokens"], 1);
    assert_eq!(answer["stats"]["startup_seconds"], 0.012);
}
