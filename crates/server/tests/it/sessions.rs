//! `/v1/sessions`.

use serde_json::Value;
use serde_json::json;

use crate::client::message;
use crate::client::text;
use crate::server::Server;

#[tokio::test]
async fn a_new_session_is_answered_whole() {
    let server = Server::start().await;
    let client = server.client().await;
    let (agent, environment) = (client.agent().await, client.environment().await);
    let body = json!({
        "agent": agent,
        "environment_id": environment,
        "title": "A try",
        "metadata": {"ticket": "7"},
        "resources": [],
        "vault_ids": [],
    });
    let session = client.post("/v1/sessions", &body).await.ok();
    let expected = json!({
        "id": session["id"],
        "type": "session",
        "agent": {
            "type": "agent",
            "id": agent,
            "version": 1,
            "name": "Tester",
            "description": null,
            "model": session["agent"]["model"],
            "system": null,
            "tools": [],
            "mcp_servers": [],
            "skills": [],
            "multiagent": null,
            "execution_identity": {"type": "service_account"},
        },
        "environment_id": environment,
        "status": "idle",
        "title": "A try",
        "metadata": {"ticket": "7"},
        "resources": [],
        "vault_ids": [],
        "budget": null,
        "deployment_id": null,
        "outcome_evaluations": [],
        "usage": session["usage"],
        "stats": session["stats"],
        "created_at": session["created_at"],
        "updated_at": session["created_at"],
        "archived_at": null,
    });
    assert_eq!(session, expected);
    assert!(text(&session["id"]).starts_with("sesn_"));
    let mut read = client.get(&format!("/v1/sessions/{}", text(&session["id"]))).await.ok();
    read["stats"] = session["stats"].clone();
    assert_eq!(read, session);
}

#[tokio::test]
async fn an_agent_is_named_in_three_ways() {
    let server = Server::start().await;
    let client = server.client().await;
    let (agent, environment) = (client.agent().await, client.environment().await);
    client.post(&format!("/v1/agents/{agent}"), &json!({"system": "Version two."})).await.ok();
    let create = async |reference: Value| {
        client.post("/v1/sessions", &json!({"agent": reference, "environment_id": environment})).await
    };
    let newest = create(json!(agent)).await.ok();
    assert_eq!(
        (&newest["agent"]["version"], &newest["agent"]["system"]),
        (&json!(2), &json!("Version two."))
    );
    let unpinned = create(json!({"type": "agent", "id": agent})).await.ok();
    assert_eq!(unpinned["agent"], newest["agent"]);
    let pinned = create(json!({"type": "agent", "id": agent, "version": 1})).await.ok();
    assert_eq!((&pinned["agent"]["version"], &pinned["agent"]["system"]), (&json!(1), &Value::Null));
    let overrides =
        json!({"type": "agent_with_overrides", "id": agent, "system": "Mine.", "model": "scripted-two"});
    let overridden = create(overrides).await.ok();
    assert_eq!(overridden["agent"]["system"], "Mine.");
    assert_eq!(overridden["agent"]["model"]["id"], "scripted-two");
    assert_eq!(overridden["agent"]["version"], 2);
    let by_id = json!({"agent_id": agent, "environment_id": environment});
    assert_eq!(client.post("/v1/sessions", &by_id).await.ok()["agent"], newest["agent"]);
    create(json!({"type": "agent", "id": agent, "version": 3})).await.not_found();
    let refused = create(json!({"type": "agent_with_overrides", "id": agent, "model": null})).await;
    refused.invalid();
    assert_eq!(refused.json()["error"]["details"]["error_code"], "agent_model_required");
}

#[tokio::test]
async fn what_is_wrong_or_not_built_is_named_and_nothing_is_made() {
    let server = Server::start().await;
    let client = server.client().await;
    let (agent, environment) = (client.agent().await, client.environment().await);
    let with = |field: &str, value: Value| {
        let mut body = json!({"agent": agent, "environment_id": environment});
        body[field] = value;
        body
    };
    for (body, field) in [
        (json!({"environment_id": environment}), "agent"),
        (json!({"agent": agent}), "environment_id"),
        (with("agent", json!(7)), "agent"),
        (with("agent", json!("sesn_1")), "agent"),
        (with("environment_id", json!("nowhere")), "environment_id"),
        (with("title", json!(["x"])), "title"),
        (with("metadata", json!({"a": null})), "metadata"),
        (with("colour", json!("red")), "colour"),
        (with("resources", json!([{"type": "file", "file_id": "file_1"}])), "resources"),
        (with("vault_ids", json!(["vlt_1"])), "vault_ids"),
        (
            with("budget", json!({"type": "limit", "max_list_cost": {"amount": "125", "currency": "USD"}})),
            "budget",
        ),
        (with("initial_events", json!([{"type": "user.interrupt"}])), "initial_events.0"),
        (
            with("initial_events", json!([message("x")["events"][0], {"type": "user.message"}])),
            "initial_events.1",
        ),
        (
            with("agent", json!({"type": "agent_with_overrides", "id": agent, "model": "nobody-serves-it"})),
            "agent.model",
        ),
    ] {
        let message = client.post("/v1/sessions", &body).await.invalid();
        assert!(message.starts_with(field), "{message} should name {field}");
    }
    assert_eq!(client.get("/v1/sessions").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_session_with_initial_events_is_born_running_and_works() {
    let server = Server::start().await;
    let client = server.client().await;
    let (agent, environment) = (client.agent().await, client.environment().await);
    let body = json!({
        "agent": agent,
        "environment_id": environment,
        "initial_events": message("Hello?")["events"],
    });
    let session = client.post("/v1/sessions", &body).await.ok();
    assert_eq!(session["status"], "running");
    assert_eq!(session.get("initial_events"), None);
    let id = text(&session["id"]);
    assert_eq!(client.settled(&id).await["status"], "idle");
    let history = client.history(&id).await;
    assert_eq!(history[0]["type"], "user.message");
    assert!(history.iter().any(|event| event["type"] == "agent.message"), "{history:#?}");
}

#[tokio::test]
async fn title_and_metadata_are_updated() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let id = text(&session["id"]);
    let path = format!("/v1/sessions/{id}");
    let updated = client.post(&path, &json!({"title": "New", "metadata": {"a": "1", "b": "2"}})).await.ok();
    assert_eq!((&updated["title"], &updated["metadata"]), (&json!("New"), &json!({"a": "1", "b": "2"})));
    let updated = client.post(&path, &json!({"metadata": {"a": null}})).await.ok();
    assert_eq!((&updated["title"], &updated["metadata"]), (&json!("New"), &json!({"b": "2"})));
    let cleared = client.post(&path, &json!({"title": null})).await.ok();
    assert_eq!(cleared["title"], Value::Null);
    let before = client.history(&id).await;
    client.post(&path, &json!({"title": null, "metadata": {"b": "2"}})).await.ok();
    assert_eq!(client.history(&id).await, before, "an update that changes nothing leaves no event");
    let kinds: Vec<&str> = before.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session.updated"; 3]);
    for (body, field) in [
        (json!({"title": 7}), "title"),
        (json!({"vault_ids": []}), "vault_ids"),
        (json!({"environment_id": "env_1"}), "environment_id"),
    ] {
        let message = client.post(&path, &body).await.invalid();
        assert!(message.starts_with(field), "{message}");
    }
}

#[tokio::test]
async fn an_archived_session_is_terminated_readable_and_closed() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let path = format!("/v1/sessions/{id}");
    client.say(&id, "Hello?").await;
    client.settled(&id).await;
    let archived = client.post_text(&format!("{path}/archive"), "{}").await.ok();
    assert_eq!(archived["status"], "terminated");
    assert_ne!(archived["archived_at"], Value::Null);
    let again = client.post_text(&format!("{path}/archive"), "").await.ok();
    assert_eq!(again["archived_at"], archived["archived_at"]);
    let history = client.history(&id).await;
    assert_eq!(history.last().unwrap()["type"], "session.status_terminated");
    client.post(&format!("{path}/events"), &message("Still there?")).await.conflict();
    client.post(&path, &json!({"title": "Late"})).await.conflict();
    assert_eq!(client.history(&id).await, history);
    assert_eq!(client.get("/v1/sessions").await.ok()["data"], json!([]));
    let all = client.get("/v1/sessions?include_archived=true").await.ok();
    assert_eq!(all["data"][0]["id"], json!(id));
}

#[tokio::test]
async fn a_deleted_session_is_gone() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let path = format!("/v1/sessions/{id}");
    assert_eq!(client.delete(&path).await.ok(), json!({"id": id, "type": "session_deleted"}));
    client.get(&path).await.not_found();
    client.get(&format!("{path}/events")).await.not_found();
    client.post(&format!("{path}/events"), &message("Hello?")).await.not_found();
    client.delete(&path).await.not_found();
}

#[tokio::test]
async fn a_running_session_is_neither_archived_nor_deleted_until_it_was_interrupted() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let path = format!("/v1/sessions/{id}");
    let mut frames = client.stream(&format!("{path}/events/stream"), None).await;
    client.say(&id, "wait for ever").await;
    frames.until("span.model_request_start").await;
    for refused in [client.post_text(&format!("{path}/archive"), "").await, client.delete(&path).await] {
        assert!(refused.invalid().contains("running"));
    }
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    client.post(&format!("{path}/events"), &interrupt).await.ok();
    frames.until("session.status_idle").await;
    assert_eq!(client.get(&path).await.ok()["status"], "idle");
}

/// The ids of one page of sessions.
fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|session| text(&session["id"])).collect()
}

#[tokio::test]
async fn sessions_are_turned_forwards_and_backwards_in_both_orders() {
    let server = Server::start().await;
    let client = server.client().await;
    let (agent, environment) = (client.agent().await, client.environment().await);
    let mut made = Vec::new();
    for _ in 0..5 {
        let body = json!({"agent": agent, "environment_id": environment});
        made.push(text(&client.post("/v1/sessions", &body).await.ok()["id"]));
    }
    for order in ["asc", "desc"] {
        if order == "desc" {
            made.reverse();
        }
        let path = format!("/v1/sessions?order={order}&limit=2");
        let first = client.get(&path).await.ok();
        assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["data", "next_page", "prev_page"]);
        assert_eq!((ids(&first), &first["prev_page"]), (made[..2].to_vec(), &Value::Null));
        let second = client.get(&format!("{path}&page={}", text(&first["next_page"]))).await.ok();
        assert_eq!(ids(&second), made[2..4]);
        let third = client.get(&format!("{path}&page={}", text(&second["next_page"]))).await.ok();
        assert_eq!((ids(&third), &third["next_page"]), (made[4..].to_vec(), &Value::Null));
        let back = client.get(&format!("{path}&page={}", text(&third["prev_page"]))).await.ok();
        assert_eq!((ids(&back), &back["next_page"]), (ids(&second), &second["next_page"]));
        let front = client.get(&format!("{path}&page={}", text(&back["prev_page"]))).await.ok();
        assert_eq!(ids(&front), made[..2]);
        assert_eq!(front["prev_page"], Value::Null);
        let other = if order == "asc" { "desc" } else { "asc" };
        let turned =
            client.get(&format!("/v1/sessions?order={other}&page={}", text(&first["next_page"]))).await;
        assert!(turned.invalid().starts_with("page: "));
    }
}

#[tokio::test]
async fn sessions_are_filtered() {
    let server = Server::start().await;
    let client = server.client().await;
    let (one, two) = (client.session().await, client.session().await);
    let (one_id, two_id) = (text(&one["id"]), text(&two["id"]));
    let agent = text(&one["agent"]["id"]);
    let list = async |query: String| ids(&client.get(&format!("/v1/sessions?{query}")).await.ok());
    assert_eq!(list(format!("agent_id={agent}")).await, [one_id.as_str()]);
    assert_eq!(list(format!("agent_id={agent}&agent_version=1")).await, [one_id.as_str()]);
    assert_eq!(list(format!("agent_id={agent}&agent_version=2")).await, [""; 0]);
    assert_eq!(list("statuses[]=idle&statuses[]=running".into()).await, [two_id.clone(), one_id.clone()]);
    assert_eq!(list("statuses[]=terminated".into()).await, [""; 0]);
    assert_eq!(list("deployment_id=depl_1".into()).await, [""; 0]);
    assert_eq!(list("memory_store_id=memstore_1".into()).await, [""; 0]);
    assert_eq!(list(format!("created_at[gt]={}", text(&one["created_at"]))).await, [two_id]);
    assert_eq!(list(format!("created_at[lte]={}", text(&one["created_at"]))).await, [one_id]);
    for wrong in
        ["statuses[]=asleep", "order=up", "include_archived=perhaps", "agent_version=0", "agent_id=x"]
    {
        let message = client.get(&format!("/v1/sessions?{wrong}")).await.invalid();
        let name = wrong.split(['=', '[']).next().unwrap();
        assert!(message.starts_with(name), "{message} should name {name}");
    }
}
