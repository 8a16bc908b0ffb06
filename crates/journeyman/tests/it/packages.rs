//! What environments install, through the API and in real sandboxes: built once, there in every session, and visible when
//! it fails.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::program::Program;
use crate::program::Server;

const KEY: &str = "sk-jm-packages";
/// Longest that a build or a turn may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every message makes the agent run its text.
const CONFIG: &str = r#"
[models.providers.script]
kind = "scripted"
inline = """
[[rule]]
when = { user = "use it" }
[[rule.reply]]
call = [{ tool = "bash", input = { command = "greet; cat /workspace/made" } }]
[[rule.reply]]
text = "done"
"""

[[models.routes]]
pattern = "scripted"
provider = "script"
"#;

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {KEY}\r\nanthropic-beta: managed-agents-2026-04-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        server.address,
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn get(server: &Server, path: &str) -> Value {
    let (status, body) = server.get(path, Some(KEY));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Asks until the answer is there.
fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} came");
        std::thread::yield_now();
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn environment(server: &Server, setup: &str) -> String {
    let made = post(server, "/v1/environments", &json!({"name": "with a setup"}));
    let id = text(&made, "id").to_owned();
    post(server, &format!("/x/v1/environments/{id}/sandbox"), &json!({"setup": setup}));
    id
}

fn built(server: &Server, environment: &str) -> Value {
    until("end of the build", || {
        let build = get(server, &format!("/x/v1/environments/{environment}/build"));
        matches!(text(&build, "status"), "ready" | "failed").then_some(build)
    })
}

/// The first tool result of a new session.
fn result(server: &Server, environment: &str) -> Value {
    let agent = json!({"name": "a", "model": "scripted", "tools": [{"type": "agent_toolset_20260401"}]});
    let agent = post(server, "/v1/agents", &agent);
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "use it"}]});
    let session = json!({"agent": agent["id"], "environment_id": environment, "initial_events": [message]});
    let session = post(server, "/v1/sessions", &session);
    until("tool result", || {
        let events = get(server, &format!("/v1/sessions/{}/events", text(&session, "id")));
        events["data"].as_array().unwrap().iter().find(|event| event["type"] == "agent.tool_result").cloned()
    })
}

fn server(program: &Program) -> Server {
    fs::write(program.folder.path().join("journeyman.toml"), CONFIG).unwrap();
    program.serve(&[("JOURNEYMAN_API_KEY", KEY)])
}

#[test]
fn what_a_setup_writes_is_there_in_every_session() {
    let program = Program::new();
    let server = server(&program);
    let setup = "set -e\nprintf '#!/bin/sh\\necho hello\\n' > /usr/local/bin/greet\nchmod +x /usr/local/bin/greet\n\
                 date +%s%N > made\necho it is set up\n";
    let environment = environment(&server, setup);
    let build = built(&server, &environment);
    assert_eq!(build["status"], "ready", "{build}");
    let first = result(&server, &environment);
    assert_eq!(first["is_error"], false, "{first}");
    assert!(first["content"][0]["text"].as_str().unwrap().starts_with("hello\n"), "{first}");
    assert_eq!(result(&server, &environment)["content"], first["content"], "it was made once");
}

#[test]
fn a_setup_that_fails_is_shown_and_leaves_nothing() {
    let program = Program::new();
    let server = server(&program);
    let environment = environment(&server, "echo one\necho two >&2\nexit 3\n");
    let build = built(&server, &environment);
    assert_eq!((&build["status"], &build["step"]), (&json!("failed"), &json!("setup")), "{build}");
    assert_eq!(build["error"], "setup failed with exit status 3");
    assert_eq!(build["log"], json!(["one", "two"]));
    let result = result(&server, &environment);
    assert_eq!(result["is_error"], true);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("setup failed with exit status 3") && text.contains("one\ntwo"), "{text}");
}
