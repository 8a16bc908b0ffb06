//! Whole turns: store, loop and model client together.

use api::event_kinds::EventKind;
use api::sessions::SessionStatus;
use api::time::Clock;
use harness::Error;
use serde_json::Value;
use serde_json::json;
use store::Signal;
use testkit::model_server_reply::Gate;
use testkit::model_server_reply::Reply;

use crate::stage::Stage;

fn bash(id: &str, command: &str) -> Reply {
    Reply::message().tool_use(id, "bash", &json!({"command": command})).stop("tool_use")
}

fn text_of(event: &Value) -> &str {
    event["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_text_turn_ends_idle_with_its_lease_given_back() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::saying("hello there"));
    stage.say(&session, "hi").await;
    stage.until(&session, "session.status_idle", 1).await;
    let row = stage.row(&session).await;
    assert_eq!((row.status.as_str(), row.holder, row.runnable), ("idle", None, false));
    let progress: Value = serde_json::from_str(&row.progress).unwrap();
    assert!(progress["usage"]["output_tokens"].as_u64().unwrap() > 0, "{progress}");
    assert_eq!(text_of(&stage.events(&session, "agent.message").await[0]), "hello there");
    let message = &stage.store.events(session.key, &store::EventQuery::default()).await.unwrap()[0].1;
    assert!(message.processed_at.is_some(), "the message was picked up");
}

#[tokio::test]
async fn calls_that_only_read_run_side_by_side_and_their_results_go_back_in_the_order_of_the_calls() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    let two = Reply::message()
        .tool_use("toolu_a", "read", &json!({"command": "a"}))
        .tool_use("toolu_b", "read", &json!({"command": "b"}))
        .stop("tool_use");
    stage.model.push(two);
    stage.model.push(Reply::saying("both done"));
    stage.say(&session, "go").await;
    stage.hands.until_started(2).await;
    stage.hands.finish("b", "B");
    stage.hands.finish("a", "A");
    stage.until(&session, "session.status_idle", 1).await;
    let second = stage.model.request(1).await.json();
    let results = second["messages"][2]["content"].as_array().unwrap();
    let told: Vec<(&str, &str)> = results
        .iter()
        .map(|result| {
            (result["tool_use_id"].as_str().unwrap(), result["content"][0]["text"].as_str().unwrap())
        })
        .collect();
    assert_eq!(told, [("toolu_a", "A"), ("toolu_b", "B")]);
}

#[tokio::test]
async fn messages_sent_while_running_wait_and_are_answered_in_order() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    let gate = Gate::new();
    stage.model.push(Reply::message().gate(&gate).text("first").stop("end_turn"));
    stage.model.push(Reply::saying("second"));
    stage.say(&session, "one").await;
    stage.model.request(0).await;
    stage.say(&session, "two").await;
    stage.say(&session, "three").await;
    let waiting = stage.events(&session, "user.message").await;
    assert_eq!(waiting[1]["processed_at"], Value::Null);
    gate.open();
    stage.until(&session, "session.status_idle", 1).await;
    let second = stage.model.request(1).await.json();
    let said: Vec<&str> = second["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["text"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["two", "three"]);
    let waiting = stage.events(&session, "user.message").await;
    assert!(waiting.iter().all(|message| message["processed_at"].is_string()), "{waiting:?}");
    assert_eq!(stage.events(&session, "session.status_idle").await.len(), 1);
}

#[tokio::test]
async fn an_interrupt_stops_the_model_and_a_message_behind_it_starts_the_next_turn() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::message().text("never ").stall());
    stage.model.push(Reply::saying("yes?"));
    stage.say(&session, "talk").await;
    stage.model.request(0).await;
    let next = json!([
        {"type": "user.interrupt"},
        {"type": "user.message", "content": [{"type": "text", "text": "stop"}]},
    ]);
    stage.send(&session, next).await;
    stage.until(&session, "session.status_idle", 2).await;
    let idle = &stage.events(&session, "session.status_idle").await[0];
    assert_eq!(idle["stop_reason"], json!({"type": "end_turn"}));
    let messages = stage.events(&session, "agent.message").await;
    assert_eq!(messages.iter().map(text_of).collect::<Vec<_>>(), ["yes?"]);
    assert_eq!(stage.events(&session, "span.model_request_end").await.len(), 2);
}

#[tokio::test]
async fn an_interrupt_stops_running_calls() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(bash("toolu_a", "sleep"));
    stage.say(&session, "sleep").await;
    stage.hands.until_started(1).await;
    stage.send(&session, json!([{"type": "user.interrupt"}])).await;
    stage.until(&session, "session.status_idle", 1).await;
    let result = &stage.events(&session, "agent.tool_result").await[0];
    assert_eq!((text_of(result), &result["is_error"]), ("stopped", &json!(true)));
}

#[tokio::test]
async fn a_passing_failure_is_shown_and_asked_again() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::error(529, "overloaded_error", "Overloaded"));
    stage.model.push(Reply::message().text("half").break_off());
    stage.model.push(Reply::saying("at last"));
    stage.say(&session, "go").await;
    stage.until(&session, "session.status_idle", 1).await;
    let errors = stage.events(&session, "session.error").await;
    let told: Vec<(&str, &str)> = errors
        .iter()
        .map(|event| &event["error"])
        .map(|error| (error["type"].as_str().unwrap(), error["retry_status"]["type"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("model_overloaded_error", "retrying"), ("model_request_failed_error", "retrying")]);
    assert_eq!(stage.events(&session, "session.status_rescheduled").await.len(), 2);
    let messages = stage.events(&session, "agent.message").await;
    assert_eq!(messages.iter().map(text_of).collect::<Vec<_>>(), ["at last"]);
}

#[tokio::test]
async fn a_final_failure_idles_the_session_and_the_next_message_is_answered() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::error(401, "authentication_error", "invalid x-api-key"));
    stage.model.push(Reply::saying("better"));
    stage.say(&session, "go").await;
    stage.until(&session, "session.status_idle", 1).await;
    let idle = &stage.events(&session, "session.status_idle").await[0];
    assert_eq!(idle["stop_reason"], json!({"type": "retries_exhausted"}));
    stage.say(&session, "again").await;
    stage.until(&session, "session.status_idle", 2).await;
    assert_eq!(stage.events(&session, "agent.message").await.len(), 1);
}

#[tokio::test]
async fn a_restart_takes_up_a_call_that_ran_on_without_the_server_and_does_not_run_it_again() {
    let mut stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(bash("toolu_a", "slow"));
    stage.model.push(Reply::saying("done"));
    stage.say(&session, "go").await;
    stage.hands.until_started(1).await;
    stage.restart().await;
    stage.hands.finish("slow", "finished meanwhile");
    stage.until(&session, "session.status_idle", 1).await;
    assert_eq!(stage.hands.started(), ["slow"]);
    let result = &stage.events(&session, "agent.tool_result").await[0];
    assert_eq!((text_of(result), &result["is_error"]), ("finished meanwhile", &json!(false)));
}

#[tokio::test]
async fn a_restart_closes_the_request_under_way_and_asks_again() {
    let mut stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::message().text("lost").stall());
    stage.model.push(Reply::saying("found"));
    stage.say(&session, "go").await;
    stage.model.request(0).await;
    stage.restart().await;
    stage.until(&session, "session.status_idle", 1).await;
    let ends = stage.events(&session, "span.model_request_end").await;
    assert_eq!(
        ends.iter().map(|end| end["is_error"].clone()).collect::<Vec<_>>(),
        [json!(true), json!(false)]
    );
    let (first, second) = (stage.model.request(0).await, stage.model.request(1).await);
    assert_eq!(first.body, second.body, "the context is a function of the log");
}

#[tokio::test]
async fn previews_carry_the_id_of_the_message_that_follows() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::message().thinking("hm", "sig").text("one two").stop("end_turn"));
    let mut follower = stage.store.follow(session.key);
    stage.say(&session, "go").await;
    let (mut shown, mut previewed) = (String::new(), Vec::new());
    let last = loop {
        match follower.next().await {
            Signal::Preview(preview) => {
                let json: Value = serde_json::from_str(&preview.json).unwrap();
                if preview.starts {
                    previewed.push(json["event"]["id"].clone());
                } else {
                    assert_eq!(json["delta"]["index"], json!(0));
                    shown.push_str(json["delta"]["content"]["text"].as_str().unwrap());
                }
            }
            Signal::Entries(entries) => {
                if let Some(message) = entries.iter().find(|entry| entry.kind == EventKind::AgentMessage) {
                    break message.clone();
                }
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown, "one two");
    let thinking = stage.events(&session, "agent.thinking").await[0]["id"].clone();
    assert_eq!(previewed, [thinking, json!(last.id)]);
}

#[tokio::test]
async fn a_running_session_can_be_neither_archived_nor_deleted() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.model.push(Reply::message().stall());
    stage.say(&session, "go").await;
    stage.model.request(0).await;
    let row = stage.row(&session).await;
    let archived = stage.harness.archive_session(&row).await;
    assert!(matches!(archived, Err(Error::Running { attempt: "archive", .. })));
    let deleted = stage.harness.delete_session(&row).await;
    assert!(matches!(deleted, Err(Error::Running { attempt: "delete", .. })));
    stage.send(&session, json!([{"type": "user.interrupt"}])).await;
    stage.until(&session, "session.status_idle", 1).await;
    let archived = stage.harness.archive_session(&stage.row(&session).await).await.unwrap();
    assert_eq!(archived.status, SessionStatus::Terminated);
    let kinds = stage.kinds(&session).await;
    assert_eq!(kinds[kinds.len() - 2..], ["session.thread_status_terminated", "session.status_terminated"]);
    let events = api::events::parse_send(br#"{"events":[{"type":"user.interrupt"}]}"#).unwrap();
    assert!(matches!(stage.harness.send(&archived, events).await, Err(Error::Ended { .. })));
}

#[tokio::test]
async fn every_turn_sees_the_same_past_with_or_without_a_restart_in_between() {
    let mut stage = Stage::new().await;
    let session = stage.session().await;
    for turn in 0..4 {
        if turn == 2 {
            stage.restart().await;
        }
        stage
            .model
            .push(Reply::message().thinking("hm", "sig").text(&format!("reply {turn}")).stop("end_turn"));
        stage.say(&session, &format!("message {turn}")).await;
        stage.until(&session, "session.status_idle", turn + 1).await;
    }
    let mut past: Vec<Value> = Vec::new();
    for turn in 0..4 {
        let request = stage.model.request(turn).await.json();
        let mut messages = request["messages"].as_array().unwrap().clone();
        for block in messages.iter_mut().flat_map(|message| message["content"].as_array_mut().unwrap()) {
            block.as_object_mut().unwrap().remove("cache_control");
        }
        assert_eq!(messages.len(), 2 * turn + 1);
        assert!(messages.starts_with(&past), "turn {turn} sees another past");
        past = messages;
    }
}

#[tokio::test]
async fn a_call_that_certainly_never_reached_the_sandbox_is_run_after_a_restart() {
    let mut stage = Stage::new().await;
    let session = stage.session().await;
    stage.hands.is_out_of_reach.send_replace(true);
    *stage.hands.sole_since.lock().unwrap() = Some(session.created_at);
    stage.model.push(bash("toolu_a", "late"));
    stage.model.push(Reply::saying("done"));
    stage.say(&session, "go").await;
    stage.until(&session, "agent.tool_use", 1).await;
    stage.restart().await;
    stage.until(&session, "journal.call_unstarted", 1).await;
    stage.hands.is_out_of_reach.send_replace(false);
    stage.hands.until_started(1).await;
    stage.hands.finish("late", "ran once");
    stage.until(&session, "session.status_idle", 1).await;
    assert_eq!(stage.hands.started(), ["late"]);
    assert_eq!(text_of(&stage.events(&session, "agent.tool_result").await[0]), "ran once");
}

#[tokio::test]
async fn no_call_is_wanted_before_the_back_end_can_prove_that_it_was_never_begun() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    stage.hands.is_starting.send_replace(true);
    stage.model.push(bash("toolu_a", "early"));
    stage.model.push(Reply::saying("done"));
    stage.say(&session, "go").await;
    let mut is_awaited = stage.hands.is_awaited.subscribe();
    let awaited = is_awaited.wait_for(|is_awaited| *is_awaited);
    tokio::time::timeout(std::time::Duration::from_secs(20), awaited).await.unwrap().unwrap();
    assert!(stage.events(&session, "agent.tool_use").await.is_empty());
    let stood_by_at = Clock::system().now();
    stage.hands.is_starting.send_replace(false);
    stage.hands.until_started(1).await;
    let log = stage.log(&session).await;
    let intent = log.iter().find(|entry| entry.kind == EventKind::AgentToolUse).unwrap();
    assert!(intent.created_at >= stood_by_at, "{:?}", intent.created_at);
}

#[tokio::test]
async fn without_that_proof_its_outcome_is_told_to_be_unknown() {
    let mut stage = Stage::new().await;
    let session = stage.session().await;
    stage.hands.is_out_of_reach.send_replace(true);
    stage.model.push(bash("toolu_a", "late"));
    stage.model.push(Reply::saying("I see"));
    stage.say(&session, "go").await;
    stage.until(&session, "agent.tool_use", 1).await;
    stage.restart().await;
    stage.until(&session, "session.status_idle", 1).await;
    let result = &stage.events(&session, "agent.tool_result").await[0];
    assert!(text_of(result).contains("unknown"), "{result}");
    assert_eq!(stage.hands.started(), Vec::<String>::new());
}

#[tokio::test]
async fn when_there_is_no_room_an_idle_sandbox_goes_and_one_in_use_stays() {
    let stage = Stage::new().await;
    *stage.hands.alive_max.lock().unwrap() = Some(2);
    let (idle, busy, new) = (stage.session().await, stage.session().await, stage.session().await);
    for (session, command) in [(&idle, "a"), (&busy, "b"), (&new, "c")] {
        stage.model.push(bash("toolu", command));
        stage.say(session, command).await;
        stage.until(session, "agent.tool_use", 1).await;
        stage.hands.until_started(usize::from(command.as_bytes()[0] - b'a') + 1).await;
        if command == "a" {
            stage.model.push(Reply::saying("done"));
            stage.hands.finish("a", "A");
            stage.until(session, "session.status_idle", 1).await;
        }
    }
    assert_eq!(*stage.hands.alive.lock().unwrap(), [busy.id.clone(), new.id.clone()]);
}
