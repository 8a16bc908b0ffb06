//! What providers and gateways were seen to send: answers that are read although something is off, and failures that
//! must not pass for success.

use std::time::Duration;

use api::completion::FailureKind;
use serde_json::Value;
use serde_json::json;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

fn start(index: usize, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: usize, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: usize) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn said_delta(text: &str) -> Value {
    json!({"type": "text_delta", "text": text})
}

fn streamed(events: &[Value]) -> Reply {
    events.iter().fold(Reply::message(), Reply::event)
}

/// The texts of a reply's blocks, and its stop reason.
async fn read(models: &model::Models) -> (Vec<String>, String) {
    let reply = reply(models, &hello()).await;
    (blocks(&reply).into_iter().map(str::to_owned).collect(), reply.stop_reason)
}

#[tokio::test]
async fn blocks_with_missing_or_repeated_starts_ends_and_indices_are_read() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let text = json!({"type": "text", "text": ""});
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let thought = [
        start(1, &thinking),
        delta(1, &json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(1, &json!({"type": "signature_delta", "signature": "sig"})),
    ];
    let hm = r#"{"type":"thinking","thinking":"hm","signature":"sig"}"#;
    let said = |text: &str| format!(r#"{{"type":"text","text":"{text}"}}"#);
    let again = [
        &[start(0, &text), delta(0, &said_delta("first "))],
        &thought[..],
        &[stop(1), start(1, &text), delta(1, &said_delta("second")), stop(1)],
    ]
    .concat();
    let misplaced = [&thought[..], &[delta(1, &said_delta("not a thought"))]].concat();
    let no_index = json!({"type": "content_block_delta", "delta": said_delta("b")});
    for (events, expected) in [
        (again, vec![said("first "), hm.to_owned(), said("second")]),
        (vec![delta(0, &said_delta("no start"))], vec![said("no start")]),
        (vec![start(0, &text), start(0, &text), delta(0, &said_delta("once"))], vec![said("once")]),
        (misplaced, vec![hm.to_owned(), said("not a thought")]),
        (vec![start(0, &text), delta(0, &said_delta("a")), no_index], vec![said("ab")]),
        (
            vec![
                json!({"type": "message_start", "message": {"content": [{"type": "text", "text": "early"}]}}),
            ],
            vec![said("early")],
        ),
    ] {
        server.push(streamed(&events).stop("end_turn"));
        assert_eq!(read(&models).await, (expected, "end_turn".to_owned()));
    }
}

#[tokio::test]
async fn counts_of_any_type_cost_no_answer() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    for (usage, input_tokens) in [
        (
            json!({"input_tokens": null, "output_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": null, "ephemeral_1h_input_tokens": 0}}),
            0,
        ),
        (json!({"input_tokens": 12.0, "output_tokens": 1.0}), 12),
        (json!({"input_tokens": "12", "output_tokens": -1}), 12),
        (json!("many"), 0),
    ] {
        server.push(Reply::message_with(&usage).text("x").stop("end_turn"));
        assert_eq!(reply(&models, &hello()).await.usage.input_tokens, input_tokens, "{usage}");
    }
    let models = chat_with(&server, "");
    let counted = json!({"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": null}});
    server.push(
        Reply::stream().chat_delta(&json!({"content": "x"})).chat_chunk(&counted).raw("data: [DONE]\n\n"),
    );
    assert_eq!(reply(&models, &hello()).await.usage.input_tokens, 3);
}

#[tokio::test]
async fn a_reply_is_whole_once_its_stop_reason_is_known() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    let end =
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}});
    server.push(Reply::message().text("whole").event(&end));
    assert_eq!(read(&models).await.0, [r#"{"type":"text","text":"whole"}"#]);
}

#[tokio::test]
async fn an_answer_is_told_by_its_first_byte_and_not_by_its_content_type() {
    let server = ModelServer::start().await;
    let whole = json!({"type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 2}});
    let chat = json!({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]});
    let stream = Reply::saying("hi").body();
    for (models, content_type, body) in [
        (messages(&server), "application/json", whole.to_string().into_bytes()),
        (messages(&server), "text/plain", stream),
        (chat_with(&server, ""), "application/json", chat.to_string().into_bytes()),
    ] {
        server.push(Reply::plain(200, content_type, body));
        assert_eq!(read(&models).await.0, [r#"{"type":"text","text":"hi"}"#], "{content_type}");
    }
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    for models in [messages(&server), chat_with(&server, "")] {
        server.push(Reply::plain(200, "application/json", overloaded.to_string()));
        let failed = failure(&models, &hello()).await;
        assert_eq!(failed.kind, FailureKind::Overloaded, "{}", failed.message);
        server.push(Reply::plain(200, "text/plain", "no such page\n"));
        assert_eq!(failure(&models, &hello()).await.kind, FailureKind::Rejected);
    }
}

#[tokio::test]
async fn no_abnormal_end_passes_for_success() {
    let server = ModelServer::start().await;
    let text = || Reply::stream().chat_delta(&json!({"content": "Let me look."}));
    let in_choice = json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error",
        "error": {"code": 502, "message": "Provider disconnected"}}]});
    let at_top = json!({"object": "error", "message": "out of memory", "code": 500});
    for (reply, words) in [
        (Reply::stream().chat_chunk(&in_choice).raw("data: [DONE]\n\n"), "Provider disconnected"),
        (text().chat_chunk(&at_top), "out of memory"),
        (text().chat_stop("tool_calls"), "announced tool calls (tool_calls) and sent none"),
        (text().chat_stop("insufficient_system_resource"), "insufficient_system_resource"),
        (Reply::stream().raw("data: [DONE]\n\n"), "without content"),
        (Reply::stream().chat_delta(&json!({"content": "\n"})).chat_stop("stop"), "without content"),
    ] {
        server.push(reply);
        let failed = failure(&chat_with(&server, ""), &hello()).await;
        assert_eq!(
            (failed.kind, failed.message.contains(words)),
            (FailureKind::Unavailable, true),
            "{}",
            failed.message
        );
    }
    for (reply, words) in [
        (Reply::message().text("x").stop("tool_use"), "announced tool calls (tool_use) and sent none"),
        (Reply::message().stop("end_turn"), "without content"),
        (Reply::message().text("x").stop("exploded"), "exploded"),
    ] {
        server.push(reply);
        let failed = failure(&messages(&server), &hello()).await;
        assert_eq!(
            (failed.kind, failed.message.contains(words)),
            (FailureKind::Unavailable, true),
            "{}",
            failed.message
        );
    }
    let invalid = json!({"error": {"code": 400, "message": "no such model"}});
    server.push(text().chat_chunk(&invalid));
    assert_eq!(failure(&chat_with(&server, ""), &hello()).await.kind, FailureKind::Rejected);
}

/// The model mends its call only when it learns what is wrong with it, so a broken call is no failure of the request.
#[tokio::test]
async fn arguments_are_read_where_there_is_one_way_and_kept_as_written_where_there_is_none() {
    let server = ModelServer::start().await;
    let call =
        |id: &str, input: &str| format!(r#"{{"type":"tool_use","id":"{id}","name":"bash","input":{input}}}"#);
    let json_start = json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}});
    server.push(
        Reply::message()
            .block(
                &json_start,
                &[json!({"type": "input_json_delta", "partial_json": "{\"command\": echo hi}"})],
            )
            .stop("tool_use"),
    );
    let broken = r#""{\"command\": echo hi}""#;
    assert_eq!(read(&messages(&server)).await, (vec![call("t", broken)], "tool_use".to_owned()));

    let piece = |piece: Value| json!({"tool_calls": [piece]});
    let first = |arguments: Value| {
        piece(json!({"index": 0, "id": "c", "function": {"name": "bash", "arguments": arguments}}))
    };
    let more = |function: Value| piece(json!({"index": 0, "function": function}));
    let whole = r#"{"command":"echo"}"#;
    for (pieces, input) in [
        (vec![first(json!(r#""{\"command\":\"echo\"}""#))], whole),
        (vec![first(json!("```json\n{\"command\":\"echo\"}\n```"))], whole),
        (vec![first(json!("")), more(json!({"arguments": whole})), more(json!({"arguments": whole}))], whole),
        (vec![first(json!(r#"{"command""#)), more(json!({"arguments": whole}))], whole),
        (vec![first(json!("{\"command\": \"ec"))], r#""{\"command\": \"ec""#),
    ] {
        let reply = pieces.iter().fold(Reply::stream(), Reply::chat_delta).chat_stop("tool_calls");
        server.push(reply);
        assert_eq!(read(&chat_with(&server, "")).await.0, [call("c", input)], "{pieces:?}");
    }
}

#[tokio::test]
async fn names_in_pieces_repeated_or_with_marks_of_a_template_are_the_tools() {
    let server = ModelServer::start().await;
    let piece = |name: &str, arguments: &str| json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": name, "arguments": arguments}}]});
    let expected = [r#"{"type":"tool_use","id":"c","name":"bash","input":{}}"#];
    for pieces in [
        vec![piece("ba", ""), piece("sh", "{}")],
        vec![piece("bash", "{"), piece("bash", "}")],
        vec![piece("bash<|channel|>commentary", "{}")],
        vec![piece("functions.bash", "{}")],
    ] {
        server.push(pieces.iter().fold(Reply::stream(), Reply::chat_delta).chat_stop("tool_calls"));
        assert_eq!(read(&chat_with(&server, "")).await.0, expected, "{pieces:?}");
    }
    let marked = json!({"type": "tool_use", "id": "c", "name": "bash<|channel|>commentary", "input": {}});
    server.push(Reply::message().block(&marked, &[]).stop("tool_use"));
    assert_eq!(read(&messages(&server)).await.0, expected);
}

#[tokio::test]
async fn pings_do_not_keep_a_reply_alive() {
    let server = ModelServer::start().await;
    let ping = json!({"type": "ping"});
    let pings = |reply: Reply| {
        (0..40)
            .fold(reply, |reply, _| reply.delay(Duration::from_millis(20)).event(&ping).raw(": waiting\n\n"))
    };
    for (settings, reply, words) in [
        ("first_content_ms = 100", pings(Reply::message()), "no content for 100 ms"),
        ("between_contents_ms = 100", pings(Reply::message().text("a")), "stalled for 100 ms"),
        ("request_ms = 100", pings(Reply::message().text("a")), "within 100 ms"),
    ] {
        server.push(reply.text("late").stop("end_turn"));
        let models = messages_with(&server, &format!("timeouts = {{ {settings} }}"));
        let failed = failure(&models, &hello()).await;
        assert_eq!(
            (failed.kind, failed.message.contains(words)),
            (FailureKind::Unavailable, true),
            "{}",
            failed.message
        );
    }
}

/// One more try without the field that the refusal names; later requests spare it from the start.
#[tokio::test]
async fn a_field_that_a_provider_refuses_is_left_out_from_then_on() {
    let server = ModelServer::start().await;
    let answer = || Reply::stream().chat_delta(&json!({"content": "x"})).chat_stop("stop");
    let mistral = json!({"object": "error", "type": "invalid_request_error", "message": {"detail": [{
        "type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"],
        "msg": "Extra inputs are not permitted", "input": true}]}});
    let unsupported = json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. \
        Use 'max_completion_tokens' instead.", "type": "invalid_request_error"}});
    server.push(Reply::plain(422, "application/json", mistral.to_string()));
    server.push(Reply::plain(400, "application/json", unsupported.to_string()));
    server.push(answer());
    server.push(answer());
    let models = chat_with(&server, "max_tokens = 9");
    for _ in 0..2 {
        reply(&models, &hello()).await;
    }
    let sent: Vec<Value> = server.requests().iter().map(testkit::model_server::Captured::json).collect();
    let fields: Vec<[bool; 3]> = sent
        .iter()
        .map(|body| {
            ["stream_options", "max_tokens", "max_completion_tokens"].map(|field| body.get(field).is_some())
        })
        .collect();
    assert_eq!(
        fields,
        [[true, true, false], [false, true, false], [false, false, true], [false, false, true]]
    );
    // A refusal that names nothing optional is final.
    server.push(Reply::error(400, "invalid_request_error", "messages: too long"));
    assert_eq!(failure(&models, &hello()).await.kind, FailureKind::Rejected);

    let effort = api::completion::Request { effort: Some("high".to_owned()), ..hello() };
    server.push(Reply::error(
        400,
        "invalid_request_error",
        "output_config.effort: this model does not support effort",
    ));
    server.push(Reply::saying("x"));
    reply(&messages(&server), &effort).await;
    assert!(server.requests().last().unwrap().json().get("output_config").is_none());
}

#[tokio::test]
async fn reasoning_goes_back_to_a_server_under_the_name_that_it_used() {
    let server = ModelServer::start().await;
    let models = chat_with(&server, "");
    for field in ["reasoning_content", "reasoning"] {
        let call =
            json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "bash", "arguments": "{}"}}]});
        server.push(
            Reply::stream()
                .chat_delta(&json!({field: "I should look."}))
                .chat_delta(&call)
                .chat_stop("tool_calls"),
        );
        let called = reply(&models, &hello()).await;
        let result = json!({"type": "tool_result", "tool_use_id": "c", "content": "ok"});
        let answered =
            api::completion::Message { role: api::completion::Role::Assistant, content: called.blocks };
        server.push(Reply::stream().chat_delta(&json!({"content": "done"})).chat_stop("stop"));
        reply(&models, &request(vec![user(&[text("hello")]), answered, user(&[result])])).await;
        let sent = server.requests().last().unwrap().json();
        assert_eq!(sent["messages"][2][field], "I should look.");
    }
}
