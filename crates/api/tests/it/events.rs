//! Events from clients: every kind, every content block, and what refuses a whole request.

use api::events;
use api::events::ClientEventKind;
use api::ids::ThreadId;
use serde_json::Value;
use serde_json::json;

use crate::bytes;
use crate::message;

const NOT_BUILT: &str = "is not supported by this server yet";

fn kinds(events: &Value) -> Vec<ClientEventKind> {
    let events = events::parse_send(&bytes(&json!({ "events": events }))).unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

fn refused(event: &Value) -> String {
    message(events::parse_send(&bytes(&json!({ "events": [event] }))))
}

fn refused_block(block: &Value) -> String {
    refused(&json!({ "type": "user.message", "content": [block] }))
}

fn text() -> Value {
    json!({ "type": "text", "text": "hi" })
}

#[test]
fn a_message_is_kept_as_it_was_sent_with_its_type_first() {
    let body = br#"{"events": [{"content": [{"text": "hi", "type": "text"}], "type": "user.message"}]}"#;
    let events = events::parse_send(body).unwrap();
    assert_eq!(events[0].kind, ClientEventKind::Message);
    let stored = serde_json::to_string(&events[0].body).unwrap();
    assert_eq!(stored, r#"{"type":"user.message","content":[{"text":"hi","type":"text"}]}"#);
}

#[test]
fn every_kind_of_block_can_be_sent() {
    let content = json!([
        { "type": "text", "text": "look" },
        { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
        { "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } },
        { "type": "document", "title": "t", "context": null, "source": { "type": "text", "media_type": "text/plain", "data": "x" } },
        { "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "aGk=" } },
        { "type": "document", "source": { "type": "url", "url": "https://example.com/a.pdf" } },
    ]);
    assert_eq!(kinds(&json!([{ "type": "user.message", "content": content }])), [ClientEventKind::Message]);
}

#[test]
fn a_wrong_block_is_named_by_its_place() {
    let place = "events.0.content.0";
    assert_eq!(refused_block(&json!({ "type": "text" })), format!("{place}.text: Field required"));
    assert_eq!(
        refused_block(&json!({ "type": "text", "text": " \n" })),
        format!("{place}.text: Text content blocks must contain non-whitespace text")
    );
    assert_eq!(
        refused_block(&json!({ "type": "text", "text": "a", "cache_control": {} })),
        format!("{place}.cache_control: Extra inputs are not permitted")
    );
    assert_eq!(
        refused_block(
            &json!({ "type": "image", "source": { "type": "base64", "media_type": "image/bmp", "data": "" } })
        ),
        format!(
            "{place}.source.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        )
    );
    for data in ["", "a", "aGk", "a===", "äöü="] {
        let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": data } });
        assert_eq!(refused_block(&image), format!("{place}.source.data: Input should be valid base64"));
    }
    let file = json!({ "type": "image", "source": { "type": "url", "url": "file:///etc/passwd" } });
    let url = "Input should be a valid URL that starts with https:// or http://";
    assert_eq!(refused_block(&file), format!("{place}.source.url: {url}"));
    assert!(refused_block(&json!({ "type": "video" })).starts_with(&format!("{place}: Input tag 'video'")));
}

#[test]
fn a_redacted_block_is_refused_everywhere() {
    let redacted = json!({ "type": "redacted" });
    let refusal = "events.0.content.0: `redacted` blocks are not permitted in client events";
    assert_eq!(refused_block(&redacted), refusal);
    let result = json!({ "type": "user.tool_result", "tool_use_id": "sevt_1", "content": [redacted] });
    assert_eq!(refused(&result), refusal);
}

#[test]
fn content_from_files_is_not_built() {
    let file = json!({ "type": "document", "source": { "type": "file", "file_id": "file_1" } });
    assert_eq!(
        refused_block(&file),
        format!("events.0.content.0.source: A source of type 'file' {NOT_BUILT}")
    );
    let file = json!({ "type": "image", "source": { "type": "file" } });
    assert_eq!(refused_block(&file), "events.0.content.0.source.file_id: Field required");
}

#[test]
fn a_message_has_content() {
    assert_eq!(refused(&json!({ "type": "user.message" })), "events.0.content: Field required");
    assert_eq!(
        refused(&json!({ "type": "user.message", "content": [] })),
        "events.0.content: List should have at least 1 item after validation, not 0"
    );
    assert_eq!(
        refused(&json!({ "type": "user.message", "content": "hi" })),
        "events.0.content: Input should be a valid list"
    );
}

#[test]
fn an_interrupt_may_name_a_thread() {
    let thread = ThreadId::parse("sthr_1").unwrap();
    let events = json!([
        { "type": "user.interrupt" },
        { "type": "user.interrupt", "session_thread_id": null },
        { "type": "user.interrupt", "session_thread_id": "sthr_1" },
    ]);
    let none = ClientEventKind::Interrupt { thread: None };
    assert_eq!(kinds(&events), [none.clone(), none, ClientEventKind::Interrupt { thread: Some(thread) }]);
    assert_eq!(
        refused(&json!({ "type": "user.interrupt", "session_thread_id": "x" })),
        "events.0.session_thread_id: 'x' is not a thread's id"
    );
}

#[test]
fn a_confirmation_allows_or_denies_with_a_reason() {
    let confirmation = |fields: Value| {
        let mut event = json!({ "type": "user.tool_confirmation", "tool_use_id": "sevt_1" });
        for (key, value) in fields.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    };
    assert_eq!(
        kinds(&json!([confirmation(json!({ "result": "deny", "deny_message": "no" }))])),
        [ClientEventKind::ToolConfirmation {
            tool_use_id: "sevt_1".into(),
            is_allowed: false,
            deny_message: Some("no".into()),
        }]
    );
    assert_eq!(
        refused(&confirmation(json!({ "result": "allow", "deny_message": "no" }))),
        "events.0.deny_message: Only permitted when `result` is 'deny'"
    );
    let text = refused(&confirmation(json!({ "result": "maybe" })));
    assert_eq!(text, "events.0.result: Input should be 'allow' or 'deny'");
}

#[test]
fn results_of_tools_may_hold_search_results() {
    let found = json!({
        "type": "search_result", "source": "https://a.com", "title": "A", "citations": { "enabled": true },
        "content": [{ "type": "text", "text": "x" }],
    });
    let events = json!([
        { "type": "user.custom_tool_result", "custom_tool_use_id": "sevt_1", "content": [found], "is_error": false },
        { "type": "user.tool_result", "tool_use_id": "sevt_2" },
    ]);
    let expected = [
        ClientEventKind::CustomToolResult { custom_tool_use_id: "sevt_1".into() },
        ClientEventKind::ToolResult { tool_use_id: "sevt_2".into() },
    ];
    assert_eq!(kinds(&events), expected);
    assert!(refused_block(&found).starts_with("events.0.content.0: Input tag 'search_result'"));
}

#[test]
fn outcomes_and_system_messages_are_checked_and_then_not_built() {
    let outcome = json!({ "type": "user.define_outcome", "description": "d", "rubric": { "type": "text", "content": "r" } });
    assert_eq!(refused(&outcome), format!("events.0: An event of type 'user.define_outcome' {NOT_BUILT}"));
    let bare = json!({ "type": "user.define_outcome", "description": "d" });
    assert_eq!(refused(&bare), "events.0.rubric: Field required");
    let long =
        json!({ "type": "user.define_outcome", "description": "d", "max_iterations": 21, "rubric": {} });
    assert_eq!(refused(&long), "events.0.max_iterations: Input should be less than or equal to 20");

    let system = json!({ "type": "system.message", "content": [text()] });
    assert_eq!(refused(&system), format!("events.0: An event of type 'system.message' {NOT_BUILT}"));
    let picture = json!({ "type": "system.message", "content": [{ "type": "image" }] });
    assert!(refused(&picture).starts_with("events.0.content.0: Input tag 'image'"));
    let first = json!({ "events": [system, { "type": "user.message", "content": [text()] }] });
    let refusal = "events: A `system.message` event should be the last one, and at most one is permitted";
    assert_eq!(message(events::parse_send(&bytes(&first))), refusal);
}

#[test]
fn one_bad_event_refuses_all() {
    let good = json!({ "type": "user.message", "content": [text()] });
    let body = json!({ "events": [good, { "type": "agent.message", "content": [] }] });
    let text = message(events::parse_send(&bytes(&body)));
    assert!(text.starts_with("events.1: Input tag 'agent.message' found using 'type'"), "{text}");
}

#[test]
fn a_request_sends_some_events_but_not_too_many() {
    assert_eq!(message(events::parse_send(b"{}")), "events: Field required");
    let none = "events: List should have at least 1 item after validation, not 0";
    assert_eq!(message(events::parse_send(br#"{"events": []}"#)), none);
    let many = vec![json!({ "type": "user.interrupt" }); 1_001];
    let text = message(events::parse_send(&bytes(&json!({ "events": many }))));
    assert_eq!(text, "events: List should have at most 1000 items after validation, not 1001");
}

#[test]
fn what_the_server_decides_cannot_be_sent() {
    for field in ["id", "processed_at"] {
        let event = json!({ "type": "user.interrupt", field: null });
        assert_eq!(refused(&event), format!("events.0.{field}: Extra inputs are not permitted"));
    }
}

#[test]
fn there_are_41_stored_types_without_doubles() {
    let distinct: std::collections::HashSet<_> = api::event_kinds::EventKind::listed().into_iter().collect();
    assert_eq!(distinct.len(), 41);
}
