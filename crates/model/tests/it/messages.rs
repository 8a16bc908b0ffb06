//! The Messages API: what comes back is what was sent, however it was cut, and hanging up is noticed upstream.

use api::completion::Usage;
use serde_json::json;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Gate;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

/// A reply with everything in it.
fn rich() -> Reply {
    Reply::message_with(&json!({"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}}))
    .event(&json!({"type": "ping"}))
    .thinking("Grüße, 🦀\n", "EqQBCgIYAhIM+/==")
    .raw(": a comment\n\nevent: new_event_2031\ndata: {\"type\":\"new_event_2031\",\"x\":[1]}\n\n")
    .text("Good morning, world")
    .block(&json!({"type": "redacted_thinking", "data": "b64=="}), &[])
    .tool_use("toolu_1", "bash", &json!({"command": "echo 'ü' | wc -c", "n": [1, {"k": null}]}))
    .block(&json!({"type": "hologram", "shape": {"r": 1.5}, "note": "x"}), &[])
    .stop_with(
        &json!({"stop_reason": "tool_use", "stop_sequence": null, "stop_details": {"type": "future", "n": 1}}),
        &json!({"output_tokens": 55}),
    )
}

const RICH: [&str; 5] = [
    r#"{"type":"thinking","thinking":"Grüße, 🦀\n","signature":"EqQBCgIYAhIM+/=="}"#,
    r#"{"type":"text","text":"Good morning, world"}"#,
    r#"{"type":"redacted_thinking","data":"b64=="}"#,
    r#"{"type":"tool_use","id":"toolu_1","name":"bash","input":{"command":"echo 'ü' | wc -c","n":[1,{"k":null}]}}"#,
    r#"{"type":"hologram","shape":{"r":1.5},"note":"x"}"#,
];

#[tokio::test]
async fn a_reply_comes_through_with_thinking_signature_unknown_blocks_and_counts() {
    let server = ModelServer::start().await;
    server.push(rich());
    let (reply, progress) = ask(&messages(&server), &hello()).await;
    let reply = reply.unwrap();
    assert_eq!(blocks(&reply), RICH);
    assert_eq!(reply.stop_reason, "tool_use");
    assert_eq!(reply.stop_details.unwrap().get(), r#"{"type":"future","n":1}"#);
    assert_eq!(reply.model.as_deref(), Some("claude-test"));
    let usage = Usage {
        input_tokens: 7,
        output_tokens: 55,
        cache_read_input_tokens: 100,
        cache_creation_5m_input_tokens: 20,
        cache_creation_1h_input_tokens: 10,
    };
    assert_eq!(reply.usage, usage);
    let expected = [
        start(0, "thinking"),
        start(1, "text"),
        said(1, "Good "),
        said(1, "morning, "),
        said(1, "world"),
        start(2, "redacted_thinking"),
        start(3, "tool_use"),
        start(4, "hologram"),
    ];
    assert_eq!(progress, expected);
}

#[tokio::test]
async fn blocks_keep_their_bytes_in_spacing_escapes_and_numbers() {
    let server = ModelServer::start().await;
    let odd = r#"{"type" : "odd","n":1.50e+3, "s":"\u00fc\/" }"#;
    let signature = r#""a\/b\u003d""#;
    server.push(
        Reply::message()
            .raw(format!("event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{odd}}}\n\n"))
            .raw("data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\",\"new\":1.0}}\n\n")
            .raw("data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"\\u0041\"}}\n\n")
            .raw(format!("data: {{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{{\"type\":\"signature_delta\",\"signature\":{signature}}}}}\n\n"))
            .stop("end_turn"),
    );
    let reply = reply(&messages(&server), &hello()).await;
    let thinking = format!(r#"{{"type":"thinking","thinking":"\u0041","signature":{signature},"new":1.0}}"#);
    assert_eq!(blocks(&reply), [odd, &thinking]);
}

#[tokio::test]
async fn a_reply_is_the_same_wherever_its_bytes_are_cut() {
    let server = ModelServer::start().await;
    let models = messages(&server);
    server.push(rich());
    let expected = whole(&reply(&models, &hello()).await);
    for at in 0..rich().body().len() {
        server.push(rich().split_at(at));
        let (cut, _) = ask(&models, &hello()).await;
        assert_eq!(whole(&cut.unwrap()), expected, "cut before byte {at}");
    }
    for size in [1, 2, 3, 7, 64] {
        server.push(rich().in_chunks(size));
        assert_eq!(whole(&reply(&models, &hello()).await), expected, "in chunks of {size}");
    }
    assert_eq!(server.connections(), 1, "a finished reply leaves its connection open for the next");
}

#[tokio::test]
async fn text_is_told_while_the_reply_is_still_being_made() {
    let server = ModelServer::start().await;
    let gate = Gate::new();
    let begun = Reply::message().raw(concat!(
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"early\"}}\n\n",
    ));
    server.push(begun.gate(&gate).stop("end_turn"));
    let models = messages(&server);
    let request = hello();
    let (told, mut heard) = tokio::sync::mpsc::channel(8);
    let report = move |progress| told.try_send(progress).unwrap();
    let asked = models.complete(&request, &report);
    let opened = async {
        assert_eq!(heard.recv().await, Some(start(0, "text")));
        assert_eq!(heard.recv().await, Some(said(0, "early")));
        gate.open();
    };
    let (reply, ()) = tokio::join!(asked, opened);
    assert_eq!(blocks(&reply.unwrap()), [r#"{"type":"text","text":"early"}"#]);
}

#[tokio::test]
async fn dropping_the_request_closes_the_connection_to_the_provider() {
    let server = ModelServer::start().await;
    let (before, within) = (Gate::new(), Gate::new());
    server.push(Reply::stream().gate(&before));
    server.push(Reply::message().text("half a").gate(&within).stop("end_turn"));
    let models = messages(&server);
    let request = hello();
    for (gate, count) in [(before, 1), (within, 2)] {
        tokio::select! {
            _ = models.complete(&request, &|_| {}) => panic!("nobody opens the gate"),
            () = gate.reached() => {}
        }
        server.abandoned(count).await;
    }
}

#[tokio::test]
async fn a_tool_input_that_is_cut_is_kept_as_it_was_written() {
    let server = ModelServer::start().await;
    let start = json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}});
    let cut = [json!({"type": "input_json_delta", "partial_json": "{\"command\": \"ec"})];
    server.push(Reply::message().block(&start, &cut).stop("max_tokens"));
    let reply = reply(&messages(&server), &hello()).await;
    let written = r#"{"type":"tool_use","id":"t","name":"bash","input":"{\"command\": \"ec"}"#;
    assert_eq!((blocks(&reply), reply.stop_reason.as_str()), (vec![written], "max_tokens"));
}

#[tokio::test]
async fn a_tool_call_without_input_and_one_in_pieces_that_split_a_character_are_whole() {
    let server = ModelServer::start().await;
    let call = |name| json!({"type": "tool_use", "id": name, "name": name, "input": {}});
    let piece = |json: &str| {
        let delta = format!(r#"{{"type":"input_json_delta","partial_json":"{json}"}}"#);
        format!("data: {{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{delta}}}\n\n")
    };
    server.push(
        Reply::message()
            .block(&call("a"), &[json!({"type": "input_json_delta", "partial_json": ""})])
            .event(&json!({"type": "content_block_start", "index": 1, "content_block": call("b")}))
            .raw(piece(r#"{\"crab\":\"\ud83e"#))
            .raw(piece(r#"\udd80\"}"#))
            .stop("tool_use"),
    );
    let reply = reply(&messages(&server), &hello()).await;
    let expected = [
        r#"{"type":"tool_use","id":"a","name":"a","input":{}}"#,
        r#"{"type":"tool_use","id":"b","name":"b","input":{"crab":"🦀"}}"#,
    ];
    assert_eq!(blocks(&reply), expected);
}

#[tokio::test]
async fn counts_that_only_the_end_tells_are_taken_from_there() {
    let server = ModelServer::start().await;
    let end = json!({"output_tokens": 9, "input_tokens": 5, "cache_creation_input_tokens": 3});
    server.push(Reply::message_with(&json!(null)).stop_with(&json!({"stop_reason": "refusal"}), &end));
    let reply = reply(&messages(&server), &hello()).await;
    let usage =
        Usage { input_tokens: 5, output_tokens: 9, cache_creation_5m_input_tokens: 3, ..Usage::default() };
    assert_eq!((reply.stop_reason.as_str(), reply.usage), ("refusal", usage));
}
