//! What is sent to the Messages API, byte for byte.

use api::completion::Message;
use api::completion::Request;
use serde_json::json;
use testkit::model_server::Captured;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;

async fn sent(settings: &str, request: &Request) -> Captured {
    let server = ModelServer::start().await;
    server.push(Reply::saying("ok"));
    reply(&messages_with(&server, settings), request).await;
    server.request(0).await
}

#[tokio::test]
async fn the_request_carries_key_version_and_the_prompt_as_text() {
    let request = Request { effort: Some("high".to_owned()), ..hello() };
    let sent = sent("", &request).await;
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!(sent.header("x-api-key"), Some(KEY));
    assert_eq!(sent.header("anthropic-version"), Some("2026-10-21"));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("anthropic-beta"), None);
    let tool = bash().get().strip_suffix('}').unwrap().to_owned();
    let expected = format!(
        "{}{}{}{}{}",
        r#"{"model":"claude-test","max_tokens":32000,"stream":true,"output_config":{"effort":"high"},"#,
        format_args!("\"tools\":[{tool}{MARK}}}],"),
        format_args!(r#""system":[{{"type":"text","text":"You are a test."{MARK}}}],"#),
        r#""messages":[{"role":"user","content":[{"type":"text","text":"hello""#,
        format_args!("{MARK}}}]}}]}}"),
    );
    assert_eq!(sent.text(), expected);
}

#[tokio::test]
async fn fast_thinking_cache_lifetime_and_limits_follow_the_configuration() {
    let settings = "thinking = 'adaptive'\nprompt_cache = '1h'\nauth = 'bearer'\nbetas = ['one-2026']\nmax_tokens = 9\n\
                    headers = { x-team = 'blue' }";
    let sent = sent(settings, &Request { speed: Some("fast".to_owned()), ..hello() }).await;
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(sent.header("x-api-key"), None);
    assert_eq!(sent.header("x-team"), Some("blue"));
    assert_eq!(sent.header("anthropic-beta"), Some("one-2026,fast-mode-2026-02-01"));
    let body = sent.json();
    assert_eq!(body["thinking"], json!({"type": "adaptive"}));
    assert_eq!((&body["speed"], &body["max_tokens"]), (&json!("fast"), &json!(9)));
    assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
}

#[tokio::test]
async fn well_known_models_think_by_default_and_nothing_is_sent_that_nobody_asked_for() {
    let known = Request {
        model: "claude-opus-5".to_owned(),
        speed: Some("standard".to_owned()),
        system: String::new(),
        tools: Vec::new(),
        ..hello()
    };
    let sent = sent("prompt_cache = 'off'", &known).await;
    let expected = json!({"model": "claude-opus-5", "max_tokens": 32000, "stream": true,
        "thinking": {"type": "adaptive"}, "messages": [{"role": "user", "content": [text("hello")]}]});
    assert_eq!(sent.text(), expected.to_string());
}

/// A conversation that grows by a call and its results, with blocks whose bytes are easy to spoil.
fn growing(rounds: usize) -> Vec<Message> {
    let mut messages = vec![user(&[text("start")])];
    for round in 0..rounds {
        let mut turn =
            assistant(&[json!({"type": "tool_use", "id": format!("t{round}"), "name": "bash", "input": {}})]);
        let thinking = raw(r#"{"type":"thinking", "thinking":"\u00fc","signature":"a\/b=="}"#);
        turn.content.insert(0, thinking);
        turn.content.insert(1, raw(r#"{"type":"hologram","r":1.50e1}"#));
        messages.push(turn);
        let result = json!({"type": "tool_result", "tool_use_id": format!("t{round}"), "content": "ok"});
        // Empty text takes no mark: the result before it has to.
        messages.push(user(&[result, text("")]));
    }
    messages
}

#[tokio::test]
async fn a_growing_conversation_keeps_its_prefix_byte_for_byte() {
    let server = ModelServer::scripted(|_| Reply::saying("ok")).await;
    let models = messages(&server);
    let mut last: Option<Captured> = None;
    for rounds in 0..6 {
        reply(&models, &request(growing(rounds))).await;
        let sent = server.request(rounds).await;
        let text = sent.text();
        assert_eq!(text.matches(MARK).count(), if rounds == 0 { 3 } else { 4 });
        if let Some(last) = last {
            let before = last.text().replace(MARK, "");
            let prefix = before.strip_suffix("]}").unwrap();
            assert!(text.replace(MARK, "").starts_with(prefix), "round {rounds} changed the prefix");
            // The newest mark of the request before is where the older one of this request is, so the cache is hit.
            let end = last.text().rfind(MARK).unwrap();
            let written = last.text()[..end].replace(MARK, "");
            let marks: Vec<_> =
                text.match_indices(MARK).map(|(at, _)| text[..at].replace(MARK, "")).collect();
            assert!(marks.contains(&written), "round {rounds} does not look where the cache was written");
        }
        last = Some(sent);
    }
}

#[tokio::test]
async fn marks_are_never_put_on_thinking_on_empty_text_or_twice() {
    let mut conversation = growing(2);
    conversation.push(assistant(&[json!({"type": "thinking", "thinking": "x", "signature": "y"})]));
    let own = json!({"type": "text", "text": "own", "cache_control": {"type": "ephemeral"}});
    conversation.push(user(&[text("new"), own]));
    conversation.push(assistant(&[json!({"type": "redacted_thinking", "data": "z"})]));
    let sent = sent("", &request(conversation)).await;
    let body = sent.json();
    let messages = body["messages"].as_array().unwrap().iter().enumerate();
    let marks: Vec<(usize, &str)> = messages
        .flat_map(|(at, message)| message["content"].as_array().unwrap().iter().map(move |block| (at, block)))
        .filter(|(_, block)| !block["cache_control"].is_null())
        .map(|(at, block)| (at, block["type"].as_str().unwrap()))
        .collect();
    assert_eq!(marks, [(2, "tool_result"), (4, "text")]);
    assert_eq!(sent.text().matches("cache_control").count(), 4);
}
