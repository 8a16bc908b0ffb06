//! `/v1/agents`.

use serde_json::Value;
use serde_json::json;

use crate::client::text;
use crate::server::Server;

#[tokio::test]
async fn a_new_agent_is_answered_whole() {
    let server = Server::start().await;
    let client = server.client().await;
    let agent = client.post("/v1/agents", &json!({"name": "Tester", "model": "scripted"})).await.ok();
    let expected = json!({
        "type": "agent",
        "id": agent["id"],
        "version": 1,
        "name": "Tester",
        "description": null,
        "model": agent["model"],
        "system": null,
        "tools": [],
        "mcp_servers": [],
        "skills": [],
        "multiagent": null,
        "execution_identity": {"type": "service_account"},
        "metadata": {},
        "created_at": agent["created_at"],
        "updated_at": agent["created_at"],
        "archived_at": null,
    });
    assert_eq!(agent, expected);
    assert_eq!(agent["model"]["id"], "scripted");
    assert!(text(&agent["id"]).starts_with("agent_"));
    let id = text(&agent["id"]);
    assert_eq!(client.get(&format!("/v1/agents/{id}")).await.ok(), agent);
}

#[tokio::test]
async fn a_field_that_is_wrong_is_named_and_nothing_is_made() {
    let server = Server::start().await;
    let client = server.client().await;
    for (body, field) in [
        (json!({"model": "scripted"}), "name"),
        (json!({"name": 7, "model": "scripted"}), "name"),
        (json!({"name": "", "model": "scripted"}), "name"),
        (json!({"name": "x".repeat(257), "model": "scripted"}), "name"),
        (json!({"name": "x"}), "model"),
        (json!({"name": "x", "model": {"speed": "standard"}}), "model.id"),
        (json!({"name": "x", "model": "scripted", "colour": "red"}), "colour"),
        (json!({"name": "x", "model": "scripted", "tools": {}}), "tools"),
        (json!({"name": "x", "model": "scripted", "tools": [{"type": "spoon"}]}), "tools.0"),
        (json!({"name": "x", "model": "scripted", "metadata": {"a": 1}}), "metadata.a"),
        (json!({"name": "x", "model": "scripted", "system": "x".repeat(100_001)}), "system"),
        (json!({"name": "x", "model": "nobody-serves-it"}), "model"),
        (
            json!({"name": "x", "model": "scripted", "tools": [
                {"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}
            ]}),
            "tools.0",
        ),
    ] {
        let message = client.post("/v1/agents", &body).await.invalid();
        assert!(message.starts_with(field), "{message} should name {field}");
    }
    assert_eq!(client.get("/v1/agents").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_update_makes_a_version_and_leaves_the_old_one() {
    let server = Server::start().await;
    let client = server.client().await;
    let first = client.post("/v1/agents", &json!({"name": "Tester", "model": "scripted"})).await.ok();
    let path = format!("/v1/agents/{}", text(&first["id"]));
    let second = client.post(&path, &json!({"version": 1, "system": "Be brief."})).await.ok();
    let mut expected = first.clone();
    expected["version"] = json!(2);
    expected["system"] = json!("Be brief.");
    expected["updated_at"] = second["updated_at"].clone();
    assert_eq!(second, expected);
    assert_eq!(client.get(&path).await.ok(), second);
    assert_eq!(client.get(&format!("{path}?version=2")).await.ok(), second);
    assert_eq!(client.get(&format!("{path}?version=1")).await.ok(), first);
    client.get(&format!("{path}?version=3")).await.not_found();
    client.get(&format!("{path}?version=0")).await.invalid();
    client.get(&format!("{path}?version=x")).await.invalid();
}

#[tokio::test]
async fn an_update_that_changes_nothing_makes_no_version() {
    let server = Server::start().await;
    let client = server.client().await;
    let agent = client.post("/v1/agents", &json!({"name": "Tester", "model": "scripted"})).await.ok();
    let path = format!("/v1/agents/{}", text(&agent["id"]));
    assert_eq!(client.post(&path, &json!({"name": "Tester"})).await.ok(), agent);
    assert_eq!(client.post(&path, &json!({})).await.ok(), agent);
}

#[tokio::test]
async fn an_update_of_another_version_is_a_conflict_even_if_it_changes_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = client.agent().await;
    let path = format!("/v1/agents/{id}");
    client.post(&path, &json!({"version": 1, "name": "Two"})).await.ok();
    let message = client.post(&path, &json!({"version": 1, "name": "Two"})).await.conflict();
    assert_eq!(message, "version: the agent is at version 2, not 1");
    client.post(&path, &json!({"version": 3, "name": "Three"})).await.conflict();
    assert_eq!(client.get(&path).await.ok()["name"], "Two");
}

#[tokio::test]
async fn updates_without_a_version_all_succeed_at_the_same_time() {
    let server = Server::start().await;
    let client = server.client().await;
    let path = format!("/v1/agents/{}", client.agent().await);
    let updates = (0..4).map(|n| {
        let (client, path) = (client.clone(), path.clone());
        async move { client.post(&path, &json!({"name": format!("name {n}")})).await.ok() }
    });
    let answers = futures_util::future::join_all(updates).await;
    let mut versions: Vec<i64> = answers.iter().map(|answer| answer["version"].as_i64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
}

#[tokio::test]
async fn an_archived_agent_can_be_read_but_neither_changed_nor_used() {
    let server = Server::start().await;
    let client = server.client().await;
    let agent = client.post("/v1/agents", &json!({"name": "Tester", "model": "scripted"})).await.ok();
    let id = text(&agent["id"]);
    let path = format!("/v1/agents/{id}");
    let archived = client.post_text(&format!("{path}/archive"), "").await.ok();
    assert_ne!(archived["archived_at"], Value::Null);
    assert_eq!(archived["version"], 1);
    assert_eq!(client.get(&path).await.ok(), archived);
    assert_eq!(client.post_text(&format!("{path}/archive"), "{}").await.ok(), archived);
    client.post(&path, &json!({"name": "Other"})).await.invalid();
    let environment = client.environment().await;
    let message =
        client.post("/v1/sessions", &json!({"agent": id, "environment_id": environment})).await.invalid();
    assert!(message.starts_with("agent"), "{message}");
    assert_eq!(client.get("/v1/agents").await.ok()["data"], json!([]));
    assert_eq!(client.get("/v1/agents?include_archived=true").await.ok()["data"], json!([archived]));
}

#[tokio::test]
async fn agents_are_listed_newest_first_page_by_page() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(client.agent().await);
    }
    made.reverse();
    let (mut seen, mut page) = (Vec::new(), String::new());
    loop {
        let body = client.get(&format!("/v1/agents?limit=2{page}")).await.ok();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["data", "next_page"]);
        seen.extend(body["data"].as_array().unwrap().iter().map(|agent| text(&agent["id"])));
        let Some(next) = body["next_page"].as_str() else {
            break;
        };
        page = format!("&page={next}");
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn agents_are_filtered_by_time_of_creation() {
    let server = Server::start().await;
    let client = server.client().await;
    let first = client.post("/v1/agents", &json!({"name": "One", "model": "scripted"})).await.ok();
    let second = client.post("/v1/agents", &json!({"name": "Two", "model": "scripted"})).await.ok();
    let list = async |filter: &str, at: &Value| {
        let body = client.get(&format!("/v1/agents?created_at[{filter}]={}", text(at))).await.ok();
        body["data"].as_array().unwrap().iter().map(|agent| text(&agent["name"])).collect::<Vec<_>>()
    };
    assert_eq!(list("gte", &second["created_at"]).await, ["Two"]);
    assert_eq!(list("gt", &first["created_at"]).await, ["Two"]);
    assert_eq!(list("lte", &first["created_at"]).await, ["One"]);
    assert_eq!(list("lt", &first["created_at"]).await, [""; 0]);
    let message = client.get("/v1/agents?created_at[gte]=yesterday").await.invalid();
    assert!(message.starts_with("created_at[gte]: "), "{message}");
}

#[tokio::test]
async fn versions_are_listed_newest_first_page_by_page() {
    let server = Server::start().await;
    let client = server.client().await;
    let path = format!("/v1/agents/{}", client.agent().await);
    for n in 2..=4 {
        client.post(&path, &json!({"name": format!("name {n}")})).await.ok();
    }
    let versions = |page: &Value| -> Vec<i64> {
        page["data"].as_array().unwrap().iter().map(|agent| agent["version"].as_i64().unwrap()).collect()
    };
    let first = client.get(&format!("{path}/versions?limit=3")).await.ok();
    assert_eq!(versions(&first), [4, 3, 2]);
    let next = text(&first["next_page"]);
    let second = client.get(&format!("{path}/versions?limit=3&page={next}")).await.ok();
    assert_eq!(versions(&second), [1]);
    assert_eq!(second["next_page"], Value::Null);
    let foreign = client.get(&format!("/v1/agents?page={next}")).await.invalid();
    assert!(foreign.starts_with("page: "), "{foreign}");
}
