//! Agents: creation, versions, what an update keeps and what it clears.

use api::agents::Agent;
use api::agents::AgentCreate;
use api::agents::AgentUpdate;
use api::ids::AgentId;
use serde_json::Value;
use serde_json::json;

use crate::EVENING;
use crate::NOON;
use crate::bytes;
use crate::message;
use crate::parse;

fn create(body: &Value) -> Agent {
    Agent::create(AgentCreate::parse(&bytes(body)).unwrap(), AgentId::parse("agent_1").unwrap(), NOON)
}

fn stored() -> Agent {
    create(&json!({
        "name": "coder",
        "description": "writes code",
        "model": { "id": "claude-opus-5-5", "effort": "max", "inference_geo": "us", "speed": "fast" },
        "system": "Be brief.",
        "tools": [{ "type": "agent_toolset_20260401" }],
        "metadata": { "team": "a", "tier": "1" },
    }))
}

fn update(agent: &Agent, body: &Value) -> Option<Agent> {
    agent.update(AgentUpdate::parse(&bytes(body)).unwrap(), EVENING).unwrap()
}

#[test]
fn a_new_agent_is_answered_with_every_field() {
    let expected = json!({
        "type": "agent",
        "id": "agent_1",
        "version": 1,
        "name": "a",
        "description": null,
        "model": { "id": "m", "effort": { "type": "high" }, "inference_geo": null, "speed": "standard" },
        "system": null,
        "tools": [],
        "mcp_servers": [],
        "skills": [],
        "multiagent": null,
        "execution_identity": { "type": "service_account" },
        "metadata": {},
        "created_at": "2027-01-15T08:00:00.000000Z",
        "updated_at": "2027-01-15T08:00:00.000000Z",
        "archived_at": null,
    });
    assert_eq!(parse(&create(&json!({ "name": "a", "model": "m" })).render()), expected);
}

#[test]
fn a_stored_agent_reads_back_as_it_was() {
    let agent = stored();
    let read: Agent = serde_json::from_str(&agent.render()).unwrap();
    assert_eq!(read, agent);
    assert_eq!(read.render(), agent.render());
}

#[test]
fn a_stored_toolset_reads_back_with_all_its_settings() {
    let agent = create(&json!({
        "name": "a",
        "model": "m",
        "tools": [{
            "type": "agent_toolset_20260401",
            "default_config": { "enabled": false },
            "configs": [
                { "name": "bash", "enabled": true },
                { "name": "web_fetch", "allowed_domains": ["a.com"], "max_content_tokens": 100 },
                { "name": "web_search", "blocked_domains": ["a.com/x"], "user_location": { "type": "approximate" } },
            ],
        }],
    }));
    let read: Agent = serde_json::from_str(&agent.render()).unwrap();
    assert_eq!(read, agent);
    assert_eq!(read.render(), agent.render());
}

#[test]
fn empty_and_null_fields_are_as_good_as_none() {
    let agent = create(&json!({
        "name": "a", "model": "m", "system": "", "description": null, "tools": null, "mcp_servers": [],
        "skills": null, "multiagent": null, "execution_identity": null, "metadata": {},
    }));
    assert_eq!(agent, create(&json!({ "name": "a", "model": "m" })));
}

#[test]
fn effort_is_a_level_or_an_object() {
    let effort = |effort: Value| {
        AgentCreate::parse(&bytes(&json!({ "name": "a", "model": { "id": "m", "effort": effort } })))
    };
    assert_eq!(effort(json!("xhigh")), effort(json!({ "type": "xhigh" })));
    assert_eq!(
        message(effort(json!("extreme"))),
        "model.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
    );
}

#[test]
fn a_model_is_checked_field_by_field() {
    let model = |model: Value| message(AgentCreate::parse(&bytes(&json!({ "name": "a", "model": model }))));
    assert_eq!(model(json!({})), "model.id: Field required");
    assert_eq!(
        model(json!({ "id": "m", "max_tokens": 1 })),
        "model.max_tokens: Extra inputs are not permitted"
    );
    assert_eq!(
        model(json!({ "id": "m", "speed": "slow" })),
        "model.speed: Input should be 'standard' or 'fast'"
    );
    assert_eq!(
        model(json!({ "id": "m", "inference_geo": "eu" })),
        "model.inference_geo: Input should be 'us' or 'global'"
    );
    assert_eq!(model(json!(1)), "model: Input should be a model id or a model object");
}

#[test]
fn an_update_that_changes_something_makes_the_next_version() {
    let agent = update(&stored(), &json!({ "name": "builder" })).unwrap();
    assert_eq!((agent.version, agent.updated_at, agent.created_at), (2, EVENING, NOON));
    let expected = Agent { name: "builder".into(), version: 2, updated_at: EVENING, ..stored() };
    assert_eq!(agent, expected);
}

#[test]
fn an_update_that_changes_nothing_makes_no_version() {
    let agent = stored();
    assert_eq!(update(&agent, &json!({})), None);
    assert_eq!(update(&agent, &json!({ "version": 1 })), None);
    let same = json!({
        "name": "coder",
        "system": "Be brief.",
        "model": { "id": "claude-opus-5-5", "inference_geo": "us", "speed": "fast" },
        "tools": [{ "type": "agent_toolset_20260401", "configs": [], "default_config": { "enabled": true } }],
        "metadata": { "team": "a", "other": null },
    });
    assert_eq!(update(&agent, &same), None);
    let answer = parse(&agent.render());
    let echoed = json!({ "tools": answer["tools"], "model": answer["model"], "skills": answer["skills"] });
    assert_eq!(update(&agent, &echoed), None);
}

#[test]
fn the_same_model_keeps_its_effort_and_loses_its_region() {
    let model = update(&stored(), &json!({ "model": { "id": "claude-opus-5-5" } })).unwrap().render();
    let expected = json!({ "id": "claude-opus-5-5", "effort": { "type": "max" }, "inference_geo": null, "speed": "standard" });
    assert_eq!(parse(&model)["model"], expected);
}

#[test]
fn another_model_starts_with_its_default_effort() {
    let model = update(&stored(), &json!({ "model": "claude-haiku-5-5" })).unwrap().render();
    let expected = json!({ "id": "claude-haiku-5-5", "effort": { "type": "high" }, "inference_geo": null, "speed": "standard" });
    assert_eq!(parse(&model)["model"], expected);
}

#[test]
fn null_and_the_empty_text_clear_and_null_lists_empty() {
    let agent = update(&stored(), &json!({ "system": "", "description": null, "tools": null })).unwrap();
    assert_eq!((agent.system, agent.description, agent.tools), (None, None, Vec::new()));
}

#[test]
fn name_and_model_cannot_be_cleared() {
    for field in ["name", "model"] {
        let text = message(AgentUpdate::parse(&bytes(&json!({ field: null }))));
        assert_eq!(text, format!("{field}: Cannot be cleared; leave it out to keep it"));
    }
    let text = message(AgentUpdate::parse(br#"{"name": ""}"#));
    assert_eq!(text, "name: String should have at least 1 character");
}

#[test]
fn metadata_is_merged_key_by_key() {
    let agent = update(&stored(), &json!({ "metadata": { "tier": null, "env": "prod" } })).unwrap();
    assert_eq!(Value::Object(agent.metadata), json!({ "team": "a", "env": "prod" }));
}

#[test]
fn an_archived_agent_stays_as_it_is() {
    let archived = stored().archive(EVENING).unwrap();
    assert_eq!((archived.version, archived.archived_at), (1, Some(EVENING)));
    assert_eq!(archived.archive(EVENING), None);
    let refusal = archived.update(AgentUpdate::parse(b"{}").unwrap(), EVENING);
    assert_eq!(message(refusal), "Agent agent_1 is archived and cannot be updated");
}

#[test]
fn orchestration_and_other_identities_are_not_built() {
    let with = |field: &str, value: Value| {
        let create = message(AgentCreate::parse(&bytes(&json!({ "name": "a", "model": "m", field: value }))));
        assert_eq!(message(AgentUpdate::parse(&bytes(&json!({ field: value })))), create);
        create
    };
    let text = with("multiagent", json!({ "type": "coordinator", "agents": [] }));
    assert_eq!(text, "multiagent: Orchestration of several agents is not supported by this server yet");
    let text = with("execution_identity", json!({ "type": "aws_role", "role_arn": "arn:aws:iam::1:role/x" }));
    assert_eq!(
        text,
        "execution_identity: An identity of type 'aws_role' is not supported by this server yet"
    );
    let text = with("execution_identity", json!({ "type": "aws_role" }));
    assert_eq!(text, "execution_identity.role_arn: Field required");
}
