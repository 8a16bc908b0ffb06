//! `/v1/environments`.

use serde_json::Value;
use serde_json::json;

use crate::client::text;
use crate::server::Server;

#[tokio::test]
async fn a_new_environment_is_answered_whole() {
    let server = Server::start().await;
    let client = server.client().await;
    let body = json!({"name": "somewhere", "config": {"type": "cloud"}, "metadata": {"team": "a"}});
    let environment = client.post("/v1/environments", &body).await.ok();
    let expected = json!({
        "type": "environment",
        "id": environment["id"],
        "name": "somewhere",
        "description": environment["description"],
        "config": environment["config"],
        "metadata": {"team": "a"},
        "scope": "organization",
        "created_at": environment["created_at"],
        "updated_at": environment["created_at"],
        "archived_at": null,
    });
    assert_eq!(environment, expected);
    assert_eq!(environment["config"]["type"], "cloud");
    assert!(text(&environment["id"]).starts_with("env_"));
    let path = format!("/v1/environments/{}", text(&environment["id"]));
    assert_eq!(client.get(&path).await.ok(), environment);
}

#[tokio::test]
async fn what_is_wrong_or_not_built_is_named() {
    let server = Server::start().await;
    let client = server.client().await;
    for (body, field) in [
        (json!({"config": {"type": "cloud"}}), "name"),
        (json!({"name": "x", "config": {"type": "moon"}}), "config"),
        (json!({"name": "x", "config": {"type": "self_hosted"}}), "config"),
        (
            json!({"name": "x", "config": {
                "type": "cloud", "networking": {"type": "limited"}, "packages": {"pip": ["pandas"]},
            }}),
            "config.networking.allow_package_managers",
        ),
        (
            json!({"name": "x", "config": {"type": "cloud", "packages": {"pip": ["--pre"]}}}),
            "config.packages.pip.0",
        ),
        (
            json!({"name": "x", "config": {
                "type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["https://a.example"]},
            }}),
            "config.networking.allowed_hosts.0",
        ),
        (json!({"name": "x", "config": {"type": "cloud"}, "colour": "red"}), "colour"),
    ] {
        let message = client.post("/v1/environments", &body).await.invalid();
        assert!(message.starts_with(field), "{message} should name {field}");
    }
    assert_eq!(client.get("/v1/environments").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_update_keeps_what_it_leaves_out() {
    let server = Server::start().await;
    let client = server.client().await;
    let body =
        json!({"name": "one", "description": "first", "config": {"type": "cloud"}, "metadata": {"a": "1"}});
    let before = client.post("/v1/environments", &body).await.ok();
    let path = format!("/v1/environments/{}", text(&before["id"]));
    let after = client.post(&path, &json!({"name": "two", "metadata": {"b": "2", "a": null}})).await.ok();
    let mut expected = before.clone();
    expected["name"] = json!("two");
    expected["metadata"] = json!({"b": "2"});
    expected["updated_at"] = after["updated_at"].clone();
    assert_eq!(after, expected);
    assert_ne!(after["updated_at"], before["updated_at"]);
    assert_eq!(client.post(&path, &json!({"name": "two"})).await.ok(), after);
    assert_eq!(client.get(&path).await.ok(), after);
}

#[tokio::test]
async fn an_archived_environment_is_neither_changed_nor_used() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = client.environment().await;
    let path = format!("/v1/environments/{id}");
    let archived = client.post_text(&format!("{path}/archive"), "").await.ok();
    assert_ne!(archived["archived_at"], Value::Null);
    assert_eq!(client.post_text(&format!("{path}/archive"), "").await.ok(), archived);
    let refused = client.post(&path, &json!({"name": "other"})).await;
    refused.invalid();
    assert_eq!(refused.json()["error"]["details"]["error_code"], "environment_archived");
    let agent = client.agent().await;
    let refused = client.post("/v1/sessions", &json!({"agent": agent, "environment_id": id})).await;
    assert!(refused.invalid().starts_with("environment_id: "));
    assert_eq!(refused.json()["error"]["details"]["error_code"], "environment_archived");
    assert_eq!(client.get("/v1/environments").await.ok()["data"], json!([]));
    assert_eq!(client.get("/v1/environments?include_archived=true").await.ok()["data"], json!([archived]));
}

#[tokio::test]
async fn an_environment_is_deleted_once_no_session_refers_to_it() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let id = text(&session["environment_id"]);
    let path = format!("/v1/environments/{id}");
    client.delete(&path).await.conflict();
    client.get(&path).await.ok();
    client.delete(&format!("/v1/sessions/{}", text(&session["id"]))).await.ok();
    assert_eq!(client.delete(&path).await.ok(), json!({"id": id, "type": "environment_deleted"}));
    client.get(&path).await.not_found();
    client.delete(&path).await.not_found();
}

#[tokio::test]
async fn environments_are_listed_newest_first_page_by_page() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(client.environment().await);
    }
    made.reverse();
    let first = client.get("/v1/environments?limit=2").await.ok();
    let second =
        client.get(&format!("/v1/environments?limit=2&page={}", text(&first["next_page"]))).await.ok();
    assert_eq!(second["next_page"], Value::Null);
    let pages = [&first, &second];
    let seen: Vec<String> =
        pages.iter().flat_map(|page| page["data"].as_array().unwrap()).map(|one| text(&one["id"])).collect();
    assert_eq!(seen, made);
}
