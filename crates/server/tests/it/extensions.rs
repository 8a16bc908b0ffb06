//! What we add to environments under `/x/v1/`: settings of sandboxes, what is enforced on their network, builds.

use serde_json::Value;
use serde_json::json;

use crate::client::Client;
use crate::client::answer;
use crate::client::text;
use crate::server::Server;

async fn environment(client: &Client, config: &Value) -> String {
    text(&client.post("/v1/environments", &json!({"name": "e", "config": config})).await.ok()["id"])
}

fn path(id: &str, what: &str) -> String {
    format!("/x/v1/environments/{id}/{what}")
}

#[tokio::test]
async fn settings_of_sandboxes_are_read_and_changed_field_by_field() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = client.environment().await;
    let path = path(&id, "sandbox");
    let mut expected = json!({
        "type": "environment_sandbox", "environment_id": id, "image": null, "setup": null, "variables": {},
        "resources": null,
    });
    assert_eq!(client.get(&path).await.ok(), expected);
    let change = json!({"image": "full", "resources": "large", "variables": {"A": "1", "B": "2"}});
    expected["image"] = json!("full");
    expected["resources"] = json!("large");
    expected["variables"] = json!({"A": "1", "B": "2"});
    assert_eq!(client.post(&path, &change).await.ok(), expected);
    assert_eq!(client.get(&path).await.ok(), expected);
    let changed = client.get(&format!("/v1/environments/{id}")).await.ok();
    assert_ne!(changed["updated_at"], changed["created_at"]);
    let change = json!({"image": null, "variables": {"A": null}});
    expected["image"] = Value::Null;
    expected["variables"] = json!({"B": "2"});
    assert_eq!(client.post(&path, &change).await.ok(), expected);
    client.post(&format!("/v1/environments/{id}"), &json!({"name": "renamed"})).await.ok();
    assert_eq!(client.get(&path).await.ok(), expected, "an update of the environment keeps them");
}

#[tokio::test]
async fn settings_that_cannot_be_met_are_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = client.environment().await;
    for (body, field) in [
        (json!({"image": "empty"}), "image: "),
        (json!({"image": "../full"}), "image: "),
        (json!({"resources": "huge"}), "resources: "),
        (json!({"variables": {"A B": "1"}}), "variables.A B: "),
        (json!({"colour": "red"}), "colour: "),
    ] {
        let message = client.post(&path(&id, "sandbox"), &body).await.invalid();
        assert!(message.starts_with(field), "{message} should name {field}");
    }
    client.post_text(&format!("/v1/environments/{id}/archive"), "").await.ok();
    let refused = client.post(&path(&id, "sandbox"), &json!({"setup": "true"})).await;
    refused.invalid();
    assert_eq!(refused.json()["error"]["details"]["error_code"], "environment_archived");
}

#[tokio::test]
async fn a_session_keeps_the_settings_that_it_began_with() {
    let server = Server::start().await;
    let workspace = server.ids.make();
    let client = server.client_of(&workspace).await;
    let id = client.environment().await;
    client.post(&path(&id, "sandbox"), &json!({"variables": {"A": "1"}})).await.ok();
    let agent = client.agent().await;
    let session = client.post("/v1/sessions", &json!({"agent": agent, "environment_id": id})).await.ok();
    client.post(&path(&id, "sandbox"), &json!({"variables": {"A": "2"}})).await.ok();
    let session = api::ids::SessionId::parse(&text(&session["id"])).unwrap();
    let stored = server.store.session(&workspace, &session).await.unwrap().unwrap();
    let extra: Value = serde_json::from_str(&stored.extra).unwrap();
    assert_eq!(extra["environment"]["sandbox"]["variables"], json!({"A": "1"}));
}

#[tokio::test]
async fn what_is_enforced_on_the_network_is_shown() {
    let server = Server::start().await;
    let client = server.client().await;
    let networking = json!({
        "type": "limited", "allow_mcp_servers": false, "allow_package_managers": true,
        "allowed_hosts": ["A.example", "*.b.example"],
    });
    let id = environment(&client, &json!({"type": "cloud", "networking": networking})).await;
    let mut shown = client.get(&path(&id, "egress")).await.ok();
    let refused = shown["refused_networks"].take();
    let expected = json!({
        "type": "environment_egress",
        "environment_id": id,
        "networking": networking,
        "is_off": false,
        "rules": [
            {"host": "a.example", "reason": "allowed_hosts"},
            {"host": "*.b.example", "reason": "allowed_hosts"},
            {"host": "mirror.example", "reason": "operator"},
        ],
        "ports": [80, 443],
        "blocked_hosts": ["*.bad.example"],
        "refused_networks": null,
        "permitted_networks": [],
        "routes": [],
        "requests": [],
        "budgets": {"bytes_max": 1000, "connections_max": shown["budgets"]["connections_max"]},
    });
    assert_eq!(shown, expected);
    let refused = refused.as_array().unwrap();
    assert_eq!(refused[0]["network"], "203.0.114.0/24");
    let find = |network: &str| refused.iter().find(|one| one["network"] == network).unwrap();
    assert_eq!(find("127.0.0.0/8")["can_be_permitted"], false);
    assert_eq!(find("10.0.0.0/8")["can_be_permitted"], true);
    let open = client.environment().await;
    let shown = client.get(&path(&open, "egress")).await.ok();
    assert_eq!((&shown["ports"], &shown["rules"]), (&json!("all"), &json!([])));
}

#[tokio::test]
async fn a_build_is_followed_and_tried_again() {
    let server = Server::start().await;
    let client = server.client().await;
    let plain = client.environment().await;
    let nothing = json!({
        "type": "environment_build", "environment_id": plain, "status": "none", "step": null, "log": [], "layer": null,
        "started_at": null, "finished_at": null, "error": null,
    });
    assert_eq!(client.get(&path(&plain, "build")).await.ok(), nothing);
    assert_eq!(client.post_text(&path(&plain, "build"), "").await.ok(), nothing);
    // No sandbox can be made in these tests, so the build fails, and says why.
    let id = environment(&client, &json!({"type": "cloud", "packages": {"pip": ["a==1"]}})).await;
    let failed = until_failed(&client, &id).await;
    assert_eq!(failed["layer"].as_str().unwrap().len(), 64);
    assert_ne!(failed["finished_at"], Value::Null);
    assert!(text(&failed["error"]).contains("run another test"), "{failed}");
    let again = client.post_text(&path(&id, "build"), "").await.ok();
    assert_eq!(again["layer"], failed["layer"]);
    until_failed(&client, &id).await;
}

async fn until_failed(client: &Client, id: &str) -> Value {
    let failed = async {
        loop {
            let build = client.get(&path(id, "build")).await.ok();
            if build["status"] == "failed" {
                return build;
            }
        }
    };
    tokio::time::timeout(crate::client::PATIENCE, failed).await.expect("the build ends")
}

#[tokio::test]
async fn the_extensions_need_a_key_of_the_workspace_and_no_beta_header() {
    let server = Server::start().await;
    let (client, other) = (server.client().await, server.client().await);
    let id = client.environment().await;
    for what in ["sandbox", "egress", "build"] {
        let path = path(&id, what);
        answer(client.request("GET", &path)).await.error(401, "authentication_error");
        answer(client.request("GET", &path).header("x-api-key", &client.key)).await.ok();
        other.get(&path).await.not_found();
        client.get(&format!("{path}?a=1")).await.invalid();
    }
    client.get(&path("env_none", "build")).await.not_found();
}
