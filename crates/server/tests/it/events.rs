//! `/v1/sessions/{id}/events`: sending and listing.

use serde_json::Value;
use serde_json::json;

use crate::client::message;
use crate::client::text;
use crate::server::Server;

fn kinds(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| text(&event["type"])).collect()
}

#[tokio::test]
async fn sent_events_are_answered_as_they_are_stored() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let sent = client.post(&format!("/v1/sessions/{id}/events"), &message("Hello?")).await.ok();
    let expected = json!({"data": [{
        "id": sent["data"][0]["id"],
        "type": "user.message",
        "content": [{"type": "text", "text": "Hello?"}],
        "processed_at": null,
    }]});
    assert_eq!(sent, expected);
    assert!(text(&sent["data"][0]["id"]).starts_with("sevt_"));
}

#[tokio::test]
async fn a_turn_is_listed_in_the_documented_order() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    client.say(&id, "think").await;
    client.settled(&id).await;
    let history = client.history(&id).await;
    assert_eq!(
        kinds(&history),
        [
            "user.message",
            "session.status_running",
            "session.thread_status_running",
            "span.model_request_start",
            "agent.thinking",
            "agent.message",
            "span.model_request_end",
            "session.thread_status_idle",
            "session.usage",
            "session.status_idle",
        ]
    );
    for event in &history {
        assert!(event["processed_at"].is_string(), "{event}");
        assert!(text(&event["id"]).starts_with("sevt_"), "{event}");
    }
    assert_eq!(history[5]["content"], json!([{"type": "text", "text": "Four words are here."}]));
}

#[tokio::test]
async fn one_bad_event_rejects_the_whole_request() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let path = format!("/v1/sessions/{id}/events");
    let good = message("Hello?")["events"][0].clone();
    for (bad, field) in [
        (json!({"type": "user.message"}), "events.1"),
        (json!({"type": "user.message", "content": "x"}), "events.1.content"),
        (json!({"type": "user.message", "content": [{"type": "redacted"}]}), "events.1.content.0"),
        (json!({"type": "agent.message", "content": []}), "events.1"),
        (
            json!({"type": "user.define_outcome", "description": "x", "rubric": {"type": "text", "content": "y"}}),
            "events.1",
        ),
        (json!({"type": "user.interrupt", "session_thread_id": "sthr_other"}), "events.1"),
        (json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_1", "result": "allow"}), "events.1"),
        (
            json!({"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_1", "content": []}),
            "events.1",
        ),
        (json!(7), "events.1"),
    ] {
        let message = client.post(&path, &json!({"events": [good, bad]})).await.invalid();
        assert!(message.starts_with(field), "{message} should name {field}");
    }
    for body in [json!({}), json!({"events": []}), json!({"events": {}}), json!({"events": [good], "x": 1})] {
        client.post(&path, &body).await.invalid();
    }
    assert_eq!(client.history(&id).await, [Value::Null; 0]);
    assert_eq!(client.get(&format!("/v1/sessions/{id}")).await.ok()["status"], "idle");
}

#[tokio::test]
async fn events_are_filtered_by_type() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    client.say(&id, "Hello?").await;
    client.settled(&id).await;
    let path = format!("/v1/sessions/{id}/events");
    let page = client.get(&format!("{path}?types[]=user.message&types[]=agent.message")).await.ok();
    assert_eq!(kinds(page["data"].as_array().unwrap()), ["user.message", "agent.message"]);
    for wrong in ["session.deleted", "event_start", "nonsense"] {
        let message = client.get(&format!("{path}?types[]={wrong}")).await.invalid();
        assert!(message.starts_with("types.0: "), "{message}");
    }
}

#[tokio::test]
async fn events_are_filtered_by_the_time_they_were_processed() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    client.say(&id, "Hello?").await;
    client.settled(&id).await;
    let history = client.history(&id).await;
    let path = format!("/v1/sessions/{id}/events");
    let answer = history.iter().find(|event| event["type"] == "agent.message").unwrap();
    let at = text(&answer["processed_at"]);
    let list = async |filter: &str| {
        client.get(&format!("{path}?created_at[{filter}]={at}")).await.ok()["data"]
            .as_array()
            .unwrap()
            .clone()
    };
    let expect = |keep: fn(&str, &str) -> bool| -> Vec<Value> {
        let kept = history.iter().filter(|event| keep(event["processed_at"].as_str().unwrap(), &at));
        kept.cloned().collect()
    };
    assert_eq!(list("gt").await, expect(|event, at| event > at));
    assert_eq!(list("gte").await, expect(|event, at| event >= at));
    assert_eq!(list("lt").await, expect(|event, at| event < at));
    assert_eq!(list("lte").await, expect(|event, at| event <= at));
}

#[tokio::test]
async fn events_are_listed_in_both_orders_page_by_page() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    client.say(&id, "Hello?").await;
    client.settled(&id).await;
    let mut expected = client.history(&id).await;
    for order in ["asc", "desc"] {
        if order == "desc" {
            expected.reverse();
        }
        let (mut seen, mut page) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/sessions/{id}/events?limit=4&order={order}{page}");
            let body = client.get(&path).await.ok();
            assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["data", "next_page"]);
            seen.extend(body["data"].as_array().unwrap().clone());
            let Some(next) = body["next_page"].as_str() else {
                break;
            };
            page = format!("&page={next}");
        }
        assert_eq!(seen, expected, "{order}");
    }
}

#[tokio::test]
async fn a_message_that_waits_is_listed_last_and_without_a_time() {
    let server = Server::start().await;
    let client = server.client().await;
    let id = text(&client.session().await["id"]);
    let mut frames = client.stream(&format!("/v1/sessions/{id}/events/stream"), None).await;
    client.say(&id, "wait for ever").await;
    frames.until("span.model_request_start").await;
    let waiting = client.say(&id, "And then?").await;
    let history = client.history(&id).await;
    assert_eq!(history.last(), Some(&waiting));
    assert_eq!(waiting["processed_at"], Value::Null);
}
