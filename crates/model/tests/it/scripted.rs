//! The scripted model: what is played follows from the conversation alone.

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Message;
use api::completion::Request;
use serde_json::json;

use crate::fixture::*;

const SCRIPT: &str = r#"
[[rule]]
when = { user = "list the files" }

[[rule.reply]]
thinking = "A look will do."
text = "Let me look."
call = [
  { tool = "bash", input = { command = "ls -la", timeout = 5, deep = { flag = true, list = [1, 2.5] } } },
  { tool = "read", input = { path = "{{user}}.txt" } },
]

[[rule.reply]]
text = "Step {{step}} of turn {{turn}}: {{result}} {{ unknown }}"

[[rule]]
when = { tool = "bash", is_error = true, result = "not found" }
reply = [{ text = "There is no such command." }]

[[rule]]
when = { user = "flaky" }
reply = [{ text = "at last", fail = { kind = "rate_limited", retry_after_ms = 50, times = 2 } }]

[[rule]]
when = { user = "break" }
reply = [{ text = "one two three", fail = { kind = "unavailable", after_chunks = 2 } }]

[[rule]]
when = { turn = 2, system = "TEST", model = "claude-*" }
reply = [{ text = "Second turn.", stop_reason = "max_tokens" }]

[otherwise]
text = "I do not know."
"#;

fn call(id: &str, tool: &str) -> Message {
    assistant(&[json!({"type": "tool_use", "id": id, "name": tool, "input": {}})])
}

fn result(id: &str, content: &str, is_error: bool) -> Message {
    user(&[
        json!({"type": "tool_result", "tool_use_id": id, "content": [text(content)], "is_error": is_error}),
    ])
}

async fn says(messages: Vec<Message>) -> Vec<String> {
    let reply = reply(&scripted(SCRIPT), &request(messages)).await;
    blocks(&reply).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_rule_is_played_step_by_step_with_parallel_calls() {
    let models = scripted(SCRIPT);
    let first = request(vec![user(&[text("Please LIST the files")])]);
    let (reply, progress) = ask(&models, &first).await;
    let reply = reply.unwrap();
    let expected = [
        r#"{"type":"thinking","thinking":"A look will do.","signature":"scripted"}"#,
        r#"{"type":"text","text":"Let me look."}"#,
        r#"{"type":"tool_use","id":"toolu_scripted_1_0","name":"bash","input":{"command":"ls -la","deep":{"flag":true,"list":[1,2.5]},"timeout":5}}"#,
        r#"{"type":"tool_use","id":"toolu_scripted_1_1","name":"read","input":{"path":"Please LIST the files.txt"}}"#,
    ];
    assert_eq!(blocks(&reply), expected);
    assert_eq!(reply.stop_reason, "tool_use");
    let told = [
        start(0, "thinking"),
        start(1, "text"),
        said(1, "Let "),
        said(1, "me "),
        said(1, "look."),
        start(2, "tool_use"),
        start(3, "tool_use"),
    ];
    assert_eq!(progress, told);

    let mut messages = first.messages;
    messages.push(Message { role: api::completion::Role::Assistant, content: reply.blocks });
    messages.push(user(&[
        json!({"type": "tool_result", "tool_use_id": "toolu_scripted_1_0", "content": "a.txt {{turn}}"}),
        json!({"type": "tool_result", "tool_use_id": "toolu_scripted_1_1", "content": [text("b")]}),
    ]));
    let second = request(messages);
    let answer = crate::fixture::reply(&models, &second).await;
    assert_eq!(
        blocks(&answer),
        [r#"{"type":"text","text":"Step 2 of turn 1: a.txt {{turn}}\nb {{ unknown }}"}"#]
    );
    assert_eq!(answer.stop_reason, "end_turn");
    // Another server that reads the same script goes on in the same way, to the last count.
    assert_eq!(whole(&crate::fixture::reply(&scripted(SCRIPT), &second).await), whole(&answer));
}

#[tokio::test]
async fn conditions_on_results_hold_for_one_and_the_same_result() {
    let conversation =
        |tool, content, is_error| vec![user(&[text("go")]), call("t", tool), result("t", content, is_error)];
    let unknown = [r#"{"type":"text","text":"I do not know."}"#];
    let missing = [r#"{"type":"text","text":"There is no such command."}"#];
    assert_eq!(says(conversation("bash", "foo: Not Found", true)).await, missing);
    assert_eq!(says(conversation("bash", "foo: Not Found", false)).await, unknown);
    assert_eq!(says(conversation("read", "foo: Not Found", true)).await, unknown);
    let mut two = vec![user(&[text("go")]), call("t", "bash"), call("u", "read")];
    two.push(user(&[
        json!({"type": "tool_result", "tool_use_id": "t", "content": "fine", "is_error": true}),
        json!({"type": "tool_result", "tool_use_id": "u", "content": "not found", "is_error": true}),
    ]));
    assert_eq!(says(two).await, unknown);
}

#[tokio::test]
async fn a_new_text_begins_a_new_turn() {
    let conversation = vec![user(&[text("hi")]), assistant(&[text("hello")]), user(&[text("more")])];
    let models = scripted(SCRIPT);
    let answer = reply(&models, &request(conversation)).await;
    assert_eq!(blocks(&answer), [r#"{"type":"text","text":"Second turn."}"#]);
    assert_eq!(answer.stop_reason, "max_tokens");
}

#[tokio::test]
async fn planned_failures_come_as_often_as_written_in_each_conversation() {
    let models = scripted(SCRIPT);
    let limited = Failure {
        kind: FailureKind::RateLimited,
        message: "model provider script limits the rate of requests, as its script says".to_owned(),
        retry_after_ms: Some(50),
    };
    let flaky = request(vec![user(&[text("flaky")])]);
    let other = request(vec![user(&[text("flaky, too")])]);
    assert_eq!(failure(&models, &flaky).await, limited);
    assert_eq!(failure(&models, &flaky).await, limited);
    assert_eq!(failure(&models, &other).await, limited);
    let (answer, told) = ask(&models, &flaky).await;
    assert_eq!(blocks(&answer.unwrap()), [r#"{"type":"text","text":"at last"}"#]);
    assert_eq!(told, [start(0, "text"), said(0, "at "), said(0, "last")]);
}

#[tokio::test]
async fn a_planned_break_tells_part_of_the_text_first() {
    let broken = request(vec![user(&[text("break")])]);
    let (result, told) = ask(&scripted(SCRIPT), &broken).await;
    assert_eq!(result.unwrap_err().kind, FailureKind::Unavailable);
    assert_eq!(told, [start(0, "text"), said(0, "one "), said(0, "two ")]);
}

#[tokio::test]
async fn delays_are_kept() {
    let models = scripted("[otherwise]\ntext = \"a b c\"\ndelay_ms = 20\nchunk_delay_ms = 10");
    let before = tokio::time::Instant::now();
    reply(&models, &hello()).await;
    assert!(before.elapsed().as_millis() >= 50);
}

#[tokio::test]
async fn a_conversation_that_no_rule_knows_is_rejected_by_name() {
    let models = scripted("[[rule]]\nwhen = { user = 'x' }\nreply = [{ text = 'y' }]");
    let unknown = failure(&models, &Request { tools: Vec::new(), ..hello() }).await;
    assert_eq!(unknown.kind, FailureKind::Rejected);
    assert_eq!(unknown.message, "model provider script has no rule in its script for turn 1, step 1");
}
