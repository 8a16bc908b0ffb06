//! Whatever is in a history, the provider takes what is sent of it, and its beginning stays as it was.

use api::completion::Message;
use api::completion::Request;
use api::completion::Role;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use testkit::provider_rules::refusal;

use super::Protocol;
use super::filter;
use crate::chat_prompt;
use crate::config::ChatConfig;
use crate::config::PromptCache;
use crate::prompt;
use crate::prompt::Settings;

/// Histories in one run of the property; `JOURNEYMAN_HISTORIES` asks for another number.
const HISTORIES: u32 = 10_000;

fn histories() -> u32 {
    std::env::var("JOURNEYMAN_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(HISTORIES)
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", " ", "\n\n", "hello", "Grüße 🦀", "null", "a\u{0}b"])
}

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["t1", "t1", "t2", "functions.bash:0", "", "ä", "call_1", "call_1_2"])
}

fn text() -> impl Strategy<Value = Value> {
    let more = prop::sample::select(vec![
        json!({}),
        json!({"citations": null}),
        json!({"future": [1]}),
        json!({"cache_control": {"type": "ephemeral"}}),
    ]);
    (word(), more).prop_map(|(text, more)| merged(json!({"type": "text", "text": text}), &more))
}

fn media() -> impl Strategy<Value = Value> {
    let data = prop::sample::select(vec![
        "iVBORw0KGgoAAAA",
        "/9j/4AAQ",
        "PGh0bWw+",
        "",
        "JVBERi0xLjc",
        "UklGRiQAAABXRUJQ",
    ]);
    let claimed = prop::sample::select(vec!["image/png", "image/jpeg", "application/pdf", "text/html"]);
    let kind = prop::sample::select(vec!["image", "document"]);
    (kind, claimed, data).prop_map(|(kind, media_type, data)| {
        json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}, "note": 1})
    })
}

fn result() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        Just(Value::Null),
        word().prop_map(Value::from),
        prop::collection::vec(prop_oneof![text(), media()], 0..3).prop_map(Value::from),
    ];
    (id(), content, any::<bool>()).prop_map(|(id, content, is_error)| {
        json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error, "extra": null})
    })
}

fn of_user() -> impl Strategy<Value = Value> {
    prop_oneof![text(), media(), result(), Just(json!({"type": "mystery"})), Just(json!("no block"))]
}

fn of_assistant() -> impl Strategy<Value = Value> {
    let thinking = prop::sample::select(vec![
        json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        json!({"type": "thinking", "thinking": "hm", "signature": "", "field": "reasoning"}),
        json!({"type": "thinking", "signature": "s", "thinking": null}),
        json!({"type": "redacted_thinking", "data": "x"}),
        json!({"type": "redacted_thinking"}),
    ]);
    let name = prop::sample::select(vec!["bash", "bash<|channel|>commentary", "", "nämé", "functions.bash"]);
    let input = prop::sample::select(vec![
        json!({}),
        json!({"a": 1}),
        json!("{\"a\": echo}"),
        Value::Null,
        json!([1]),
    ]);
    let call = (id(), name, input).prop_map(|(id, name, input)| {
        json!({"type": "tool_use", "id": id, "name": name, "input": input, "caller": null})
    });
    prop_oneof![text(), thinking, call]
}

fn history() -> impl Strategy<Value = Vec<Message>> {
    let message = any::<bool>().prop_flat_map(|is_user| {
        let (role, block) =
            if is_user { (Role::User, of_user().boxed()) } else { (Role::Assistant, of_assistant().boxed()) };
        prop::collection::vec(block, 0..5).prop_map(move |blocks| message(role, &blocks))
    });
    prop::collection::vec(message, 0..8)
}

fn message(role: Role, blocks: &[Value]) -> Message {
    let raw = |block: &Value| RawValue::from_string(block.to_string()).unwrap().into();
    Message { role, content: blocks.iter().map(raw).collect() }
}

fn merged(mut object: Value, more: &Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

/// A conversation as the brain keeps it: neighbours of one role are one message, and the user speaks last.
fn asked(history: Vec<Message>) -> Vec<Message> {
    let last = message(Role::User, &[json!({"type": "text", "text": "go on"})]);
    let mut asked: Vec<Message> = Vec::new();
    for message in history.into_iter().chain([last]) {
        match asked.last_mut() {
            Some(before) if before.role == message.role => before.content.extend(message.content),
            _ => asked.push(message),
        }
    }
    asked
}

fn body(history: Vec<Message>, protocol: Protocol) -> String {
    let sent = filter(&history, protocol);
    let request = Request {
        model: "m".to_owned(),
        speed: None,
        effort: None,
        system: String::new(),
        tools: Vec::new(),
        messages: history,
    };
    match protocol {
        Protocol::Messages => {
            let settings =
                Settings { model: "m", max_tokens: 1, thinking: None, effort: None, cache: PromptCache::Off };
            prompt::body(&request, &sent, &settings)
        }
        Protocol::Chat => chat_prompt::body(&request, &sent, "m", None, &ChatConfig::default()),
    }
}

fn check(history: Vec<Message>, protocol: Protocol, path: &str) -> Result<(), TestCaseError> {
    let history = asked(history);
    let text = body(history.clone(), protocol);
    prop_assert_eq!(refusal(path, &serde_json::from_str(&text).unwrap()), None, "{}", text);
    // Chat completions have a text of the user as a string, and with an image as a list: a message that is joined with the
    // next, because nothing of the model's between them can be sent, may change its form.
    if protocol == Protocol::Chat && filter(&history, protocol).len() < history.len() {
        return Ok(());
    }
    // Each earlier request ended with a message of the user, and this one begins as it did, as far as whole blocks go.
    for (at, _) in history.iter().enumerate().filter(|(_, message)| message.role == Role::User) {
        let before = body(history[..=at].to_vec(), protocol);
        let shared = before.trim_end_matches([']', '}', '"']);
        prop_assert!(text.starts_with(shared), "{}\n{}", before, text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), ..ProptestConfig::default() })]

    #[test]
    fn the_messages_api_takes_every_history(history in history()) {
        check(history, Protocol::Messages, "/v1/messages")?;
    }

    #[test]
    fn chat_completions_take_every_history(history in history()) {
        check(history, Protocol::Chat, "/v1/chat/completions")?;
    }
}

#[test]
fn results_of_calls_with_one_id_go_to_their_own_calls_in_order() {
    let call = |command: &str| json!({"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": command}});
    let result = |text: &str| json!({"type": "tool_result", "tool_use_id": "t1", "content": text});
    let history = [
        message(Role::User, &[json!({"type": "text", "text": "go"})]),
        message(Role::Assistant, &[call("one"), call("two")]),
        message(Role::User, &[result("1"), result("2")]),
    ];
    let sent: Value = serde_json::from_str(&body(history.to_vec(), Protocol::Messages)).unwrap();
    let pairs: Vec<(&Value, &Value)> = (0..2)
        .map(|at| (&sent["messages"][1]["content"][at]["id"], &sent["messages"][2]["content"][at]))
        .inspect(|(id, result)| assert_eq!(**id, result["tool_use_id"]))
        .map(|(id, result)| (id, &result["content"][0]["text"]))
        .collect();
    assert_eq!(pairs, [(&json!("t1"), &json!("1")), (&json!("t1_2"), &json!("2"))]);
}

#[test]
fn a_long_history_keeps_its_newest_images() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let history: Vec<Message> = (0..103).map(|_| message(Role::User, std::slice::from_ref(&image))).collect();
    let text = body(history, Protocol::Messages);
    assert_eq!(refusal("/v1/messages", &serde_json::from_str(&text).unwrap()), None);
    assert_eq!(
        text.matches("iVBORw0KGgo").count(),
        83,
        "twenty at once, so that the beginning seldom changes"
    );
}
