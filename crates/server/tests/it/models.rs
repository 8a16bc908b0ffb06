//! `/v1/models`.

use serde_json::Value;
use serde_json::json;

use crate::client::answer;
use crate::server::Server;

fn model(id: &str) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": id,
        "created_at": "1970-01-01T00:00:00.000000Z",
        "lifecycle": "active",
        "line": null,
        "max_input_tokens": null,
        "max_tokens": null,
        "capabilities": null,
        "allowed_fallback_models": null,
        "deprecated_at": null,
        "retires_at": null,
    })
}

#[tokio::test]
async fn models_are_listed_with_and_without_the_beta_header() {
    let server = Server::start().await;
    let client = server.client().await;
    let expected = json!({
        "data": [model("scripted"), model("scripted-two"), model("scripted-three")],
        "has_more": false,
        "first_id": "scripted",
        "last_id": "scripted-three",
    });
    assert_eq!(client.get("/v1/models").await.ok(), expected);
    let plain = answer(client.request("GET", "/v1/models").header("x-api-key", &client.key)).await;
    assert_eq!(plain.ok(), expected);
}

#[tokio::test]
async fn the_list_of_models_is_turned_by_ids() {
    let server = Server::start().await;
    let client = server.client().await;
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = client.get("/v1/models?limit=2").await.ok();
    assert_eq!(ids(&first), ["scripted", "scripted-two"]);
    assert_eq!(first["has_more"], true);
    let second = client.get("/v1/models?limit=2&after_id=scripted-two").await.ok();
    assert_eq!(ids(&second), ["scripted-three"]);
    assert_eq!(second["has_more"], false);
    let back = client.get("/v1/models?limit=1&before_id=scripted-three").await.ok();
    assert_eq!(ids(&back), ["scripted-two"]);
    let retired = client.get("/v1/models?lifecycle[]=retired").await.ok();
    assert_eq!(ids(&retired), [""; 0]);
    let message = client.get("/v1/models?after_id=nothing").await.invalid();
    assert_eq!(message, "after_id: there is no model `nothing` in the list");
}

#[tokio::test]
async fn one_model_is_answered_when_a_route_leads_to_it() {
    let server = Server::start().await;
    let client = server.client().await;
    assert_eq!(client.get("/v1/models/scripted").await.ok(), model("scripted"));
    assert_eq!(client.get("/v1/models/claude-of-tomorrow").await.ok()["id"], "claude-of-tomorrow");
    assert_eq!(client.get("/v1/models/unknown").await.not_found(), "model `unknown` was not found");
}
