//! `/v1/sessions/{id}/threads`.

use serde_json::Value;
use serde_json::json;

use crate::client::text;
use crate::server::Server;

#[tokio::test]
async fn the_primary_thread_is_listed_and_answered_whole() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let path = format!("/v1/sessions/{}/threads", text(&session["id"]));
    let list = client.get(&path).await.ok();
    let thread = list["data"][0].clone();
    let mut agent = session["agent"].clone();
    agent.as_object_mut().unwrap().remove("multiagent");
    let expected = json!({
        "id": thread["id"],
        "type": "session_thread",
        "session_id": session["id"],
        "parent_thread_id": null,
        "workflow_run_id": null,
        "agent": agent,
        "status": "idle",
        "usage": null,
        "stats": null,
        "created_at": session["created_at"],
        "updated_at": session["updated_at"],
        "archived_at": null,
    });
    assert_eq!(list, json!({"data": [expected], "next_page": null}));
    assert!(text(&thread["id"]).starts_with("sthr_"));
    assert_eq!(client.get(&format!("{path}/{}", text(&thread["id"]))).await.ok(), thread);
}

#[tokio::test]
async fn threads_are_filtered_by_status() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let path = format!("/v1/sessions/{}/threads", text(&session["id"]));
    assert_eq!(
        client.get(&format!("{path}?statuses[]=idle")).await.ok()["data"].as_array().unwrap().len(),
        1
    );
    assert_eq!(client.get(&format!("{path}?statuses[]=running")).await.ok()["data"], json!([]));
    client.get(&format!("{path}?statuses[]=asleep")).await.invalid();
    client.get(&format!("{path}?limit=1001")).await.invalid();
}

#[tokio::test]
async fn the_events_of_the_primary_thread_are_those_of_the_session() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let id = text(&session["id"]);
    client.say(&id, "Hello?").await;
    client.settled(&id).await;
    let threads = client.get(&format!("/v1/sessions/{id}/threads")).await.ok();
    let thread = &threads["data"][0];
    assert_ne!(thread["usage"], Value::Null);
    assert_ne!(thread["stats"], Value::Null);
    let path = format!("/v1/sessions/{id}/threads/{}", text(&thread["id"]));
    let events = client.get(&format!("{path}/events")).await.ok();
    assert_eq!(events["data"], json!(client.history(&id).await));
    client.get(&format!("{path}/events?order=desc")).await.invalid();
    client.get(&format!("{path}/events/stream")).await.not_found();
    let mut replay = client.stream(&format!("{path}/stream"), Some("0")).await;
    let frames = replay.until("session.status_idle").await;
    assert_eq!(frames[0].kind(), "user.message");
}

#[tokio::test]
async fn the_primary_thread_cannot_be_archived() {
    let server = Server::start().await;
    let client = server.client().await;
    let session = client.session().await;
    let path = format!("/v1/sessions/{}/threads", text(&session["id"]));
    let thread = text(&client.get(&path).await.ok()["data"][0]["id"]);
    let message = client.post_text(&format!("{path}/{thread}/archive"), "").await.invalid();
    assert!(message.contains("archive its session instead"), "{message}");
}

#[tokio::test]
async fn a_thread_of_another_session_does_not_exist_in_this_one() {
    let server = Server::start().await;
    let client = server.client().await;
    let (one, two) = (client.session().await, client.session().await);
    let of_two = client.get(&format!("/v1/sessions/{}/threads", text(&two["id"]))).await.ok();
    let path = format!("/v1/sessions/{}/threads/{}", text(&one["id"]), text(&of_two["data"][0]["id"]));
    for rest in ["", "/events", "/stream"] {
        client.get(&format!("{path}{rest}")).await.not_found();
    }
    client.post_text(&format!("{path}/archive"), "").await.not_found();
}
