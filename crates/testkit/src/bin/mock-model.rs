//! A model for load tests and demonstrations: answers a user's text with a tool call and results with a short text.
//!
//! `RUN: command` lines of the text become parallel calls of `bash`; without any it is `echo hello`. A text that holds
//! `TEXT-ONLY` is answered with text. `--delay-ms N` is the time before the first byte of every reply.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut address: SocketAddr = "127.0.0.1:0".parse()?;
    let mut delay = Duration::ZERO;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => {
                address = value.parse().with_context(|| format!("read the address {value}"))?;
            }
            "--delay-ms" => delay = Duration::from_millis(value.parse().context("read the delay")?),
            _ => bail!("{name} is unknown; there are --listen ADDRESS and --delay-ms N"),
        }
    }
    let server = ModelServer::listen(address, move |request| reply(request, delay)).await?;
    announce(&server.url());
    std::future::pending().await
}

#[expect(clippy::print_stdout, reason = "the line is what a caller waits for")]
fn announce(url: &str) {
    println!("listening on {url}");
}

fn reply(request: &Value, delay: Duration) -> Reply {
    let stream = if delay.is_zero() { Reply::stream() } else { Reply::stream().delay(delay) };
    let head = stream.begin(&json!({"input_tokens": 10, "output_tokens": 1}));
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let content = messages.last().map_or(&Value::Null, |message| &message["content"]);
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    if blocks.iter().any(|block| block["type"] == "tool_result") {
        return head.text("Done: the command has run.").stop("end_turn");
    }
    let texts = blocks.iter().filter_map(|block| block["text"].as_str()).chain(content.as_str());
    let text = texts.collect::<Vec<_>>().join("\n");
    if text.contains("TEXT-ONLY") {
        return head.text("This is an answer in plain text.").stop("end_turn");
    }
    let planned = text.lines().filter_map(|line| line.split_once("RUN:")).map(|(_, command)| command.trim());
    let mut commands: Vec<&str> = planned.collect();
    if commands.is_empty() {
        commands.push("echo hello");
    }
    let call = |reply: Reply, (position, command): (usize, &&str)| {
        let id = format!("toolu_mock_{}_{position}", messages.len());
        reply.tool_use(&id, "bash", &json!({"command": command}))
    };
    commands.iter().enumerate().fold(head, call).stop("tool_use")
}
