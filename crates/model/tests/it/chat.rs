//! OpenAI-compatible chat completions, with the habits of different servers.

use api::completion::FailureKind;
use api::completion::Request;
use api::completion::Usage;
use serde_json::Value;
use serde_json::json;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

/// A piece of a tool call.
fn piece(call: &Value) -> Value {
    json!({"tool_calls": [call]})
}

async fn played(reply: Reply) -> (Vec<String>, String) {
    let server = ModelServer::start().await;
    server.push(reply);
    let reply = crate::fixture::reply(&chat_with(&server, ""), &hello()).await;
    (blocks(&reply).into_iter().map(str::to_owned).collect(), reply.stop_reason)
}

#[tokio::test]
async fn reasoning_text_parallel_calls_and_counts_come_through() {
    let server = ModelServer::start().await;
    let call = |index: usize, id: &str, arguments: &str| {
        piece(&json!({"index": index, "id": id, "type": "function",
            "function": {"name": "bash", "arguments": arguments}}))
    };
    let more =
        |index: usize, arguments: &str| piece(&json!({"index": index, "function": {"arguments": arguments}}));
    let recorded = Reply::stream()
        .chat_chunk(&json!({"model": "qwen", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
        .chat_delta(&json!({"reasoning_content": "Let me"}))
        .chat_delta(&json!({"reasoning_content": " see."}))
        .chat_delta(&json!({"content": "Two "}))
        .chat_delta(&json!({"content": "calls."}))
        .chat_delta(&call(0, "call_a", ""))
        .chat_delta(&more(0, "{\"command\": "))
        .chat_delta(&call(1, "call_b", "{\"command\":"))
        .chat_delta(&more(0, "\"ls\"}"))
        .chat_delta(&more(1, "\"pwd\"}"))
        .chat_stop("tool_calls");
    let models = chat_with(&server, "");
    server.push(recorded.clone());
    let (reply, progress) = ask(&models, &hello()).await;
    let reply = reply.unwrap();
    let expected = [
        r#"{"type":"thinking","thinking":"Let me see.","signature":"","field":"reasoning_content"}"#,
        r#"{"type":"text","text":"Two calls."}"#,
        r#"{"type":"tool_use","id":"call_a","name":"bash","input":{"command": "ls"}}"#,
        r#"{"type":"tool_use","id":"call_b","name":"bash","input":{"command":"pwd"}}"#,
    ];
    assert_eq!(blocks(&reply), expected);
    let usage = Usage { input_tokens: 6, output_tokens: 20, cache_read_input_tokens: 4, ..Usage::default() };
    assert_eq!((reply.stop_reason.as_str(), reply.usage), ("tool_use", usage));
    assert_eq!(reply.model.as_deref(), Some("qwen"));
    let told = [
        start(0, "thinking"),
        start(1, "text"),
        said(1, "Two "),
        said(1, "calls."),
        start(2, "tool_use"),
        start(3, "tool_use"),
    ];
    assert_eq!(progress, told);
    for at in (0..recorded.body().len()).step_by(3) {
        server.push(recorded.clone().split_at(at));
        let cut = crate::fixture::reply(&models, &hello()).await;
        assert_eq!(whole(&cut), whole(&reply), "cut before byte {at}");
    }
}

#[tokio::test]
async fn whole_calls_without_index_or_id_get_ids_of_their_own() {
    let call = |command: &str| json!({"function": {"name": "bash", "arguments": {"command": command}}});
    let reply = Reply::stream().chat_delta(&json!({"tool_calls": [call("a"), call("b")]})).chat_stop("stop");
    let expected = [
        r#"{"type":"tool_use","id":"toolu_1_0","name":"bash","input":{"command":"a"}}"#,
        r#"{"type":"tool_use","id":"toolu_1_1","name":"bash","input":{"command":"b"}}"#,
    ];
    let (blocks, stop_reason) = played(reply).await;
    assert_eq!((blocks, stop_reason.as_str()), (expected.map(str::to_owned).to_vec(), "tool_use"));
}

#[tokio::test]
async fn calls_with_the_same_index_are_told_apart_by_id_and_pieces_without_index_join_the_last() {
    let call = |id: &str, arguments: &str| {
        piece(&json!({"index": 0, "id": id, "function": {"name": "bash", "arguments": arguments}}))
    };
    let reply = Reply::stream()
        .chat_delta(&call("x", "{\"n\":1}"))
        .chat_delta(&call("y", "{\"n\":"))
        .chat_delta(&piece(&json!({"function": {"arguments": "2}"}})))
        .chat_delta(&call("y2", ""))
        .chat_stop("tool_calls");
    let expected = [
        r#"{"type":"tool_use","id":"x","name":"bash","input":{"n":1}}"#,
        r#"{"type":"tool_use","id":"y","name":"bash","input":{"n":2}}"#,
        r#"{"type":"tool_use","id":"y2","name":"bash","input":{}}"#,
    ];
    assert_eq!(played(reply).await.0, expected);
}

#[tokio::test]
async fn finish_reasons_are_translated() {
    let text = || Reply::stream().chat_delta(&json!({"content": "x"}));
    assert_eq!(played(text().chat_stop("stop")).await.1, "end_turn");
    assert_eq!(played(text().chat_stop("content_filter")).await.1, "refusal");
    let cut = json!({"index": 0, "id": "c", "function": {"name": "bash", "arguments": "{\"comm"}});
    let (blocks, stop_reason) = played(text().chat_delta(&piece(&cut)).chat_stop("length")).await;
    assert_eq!(stop_reason, "max_tokens");
    assert_eq!(blocks[1], r#"{"type":"tool_use","id":"c","name":"bash","input":"{\"comm"}"#);
}

#[tokio::test]
async fn a_missing_done_is_forgiven_after_a_finish_reason_only() {
    let finished = json!({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]});
    assert_eq!(played(Reply::stream().chat_chunk(&finished)).await.1, "end_turn");
    let server = ModelServer::start().await;
    let models = chat_with(&server, "");
    server.push(Reply::stream().chat_delta(&json!({"content": "x"})));
    let cut = failure(&models, &hello()).await;
    assert_eq!(cut.kind, FailureKind::Unavailable);
    assert_eq!(cut.message, "model provider upstream ended its reply in the middle");
    server.push(Reply::stream().chat_chunk(&json!({"error": {"message": "out of memory", "code": 500}})));
    let error = failure(&models, &hello()).await;
    assert_eq!(
        error.message,
        "model provider upstream broke its reply off with an error: 500: out of memory"
    );
    server.push(Reply::plain(
        429,
        "application/json",
        r#"{"error":{"message":"quota","type":"insufficient_quota"}}"#,
    ));
    assert_eq!(failure(&models, &hello()).await.kind, FailureKind::Billing);
}

#[tokio::test]
async fn the_conversation_is_translated_with_results_images_and_errors() {
    let server = ModelServer::start().await;
    server.push(Reply::stream().chat_delta(&json!({"content": "x"})).chat_stop("stop"));
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let conversation = vec![
        user(&[text("look"), image.clone()]),
        assistant(&[
            json!({"type": "thinking", "thinking": "hm", "signature": "", "field": "reasoning_content"}),
            text("Calling."),
            json!({"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}}),
            json!({"type": "tool_use", "id": "b", "name": "read", "input": {}}),
        ]),
        user(&[
            json!({"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [text("no"), text("way")]}),
            json!({"type": "tool_result", "tool_use_id": "b", "content": [image]}),
            text("and now?"),
        ]),
    ];
    let settings = "max_tokens = 99\nmax_tokens_field = 'max_completion_tokens'\nsend_effort = true";
    let request = Request { effort: Some("max".to_owned()), ..request(conversation) };
    reply(&chat_with(&server, settings), &request).await;
    let sent = server.request(0).await;
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let shown = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let hint = "[the next message of the user shows what this tool returned]";
    let tool: Value = serde_json::from_str(bash().get()).unwrap();
    let expected = json!({
        "model": "claude-test", "stream": true, "stream_options": {"include_usage": true},
        "max_completion_tokens": 99, "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {"name": "bash", "description": tool["description"],
            "parameters": tool["input_schema"]}}],
        "messages": [
            {"role": "system", "content": "You are a test."},
            {"role": "user", "content": [text("look"), shown]},
            {"role": "assistant", "content": "Calling.", "reasoning_content": "hm",
                "tool_calls": [call("a", "bash", r#"{"command":"ls"}"#), call("b", "read", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "Error: no\nway"},
            {"role": "tool", "tool_call_id": "b", "content": hint},
            {"role": "user", "content": [shown, text("and now?")]},
        ],
    });
    assert_eq!(sent.json(), expected);
}
