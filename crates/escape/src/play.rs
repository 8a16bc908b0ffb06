//! One turn of the session: the words that begin it, and the results of the calls that it makes.

use std::collections::HashMap;

use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

use crate::client::Client;
use crate::script::Turn;

/// A call of a tool and its result.
pub(crate) struct Played {
    /// The tool.
    pub(crate) tool: String,
    /// What it was given.
    pub(crate) input: Value,
    /// The text that it answered with.
    pub(crate) text: String,
    /// Whether it failed.
    pub(crate) is_error: bool,
}

/// Plays a turn to its end.
pub(crate) async fn turn(client: &Client, session: &str, turn: Turn) -> Result<Vec<Played>> {
    let mut events = client.stream(session).await?;
    client.message(session, json!([{"type": "text", "text": turn.words()}])).await?;
    let mut played: Vec<Played> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    loop {
        let Some(event) = events.next().await? else { bail!("the stream ended before the turn did") };
        match event["type"].as_str().unwrap_or_default() {
            "agent.tool_use" => {
                places.insert(event["id"].as_str().unwrap_or_default().to_owned(), played.len());
                let tool = event["name"].as_str().unwrap_or_default().to_owned();
                played.push(Played {
                    tool,
                    input: event["input"].clone(),
                    text: String::new(),
                    is_error: true,
                });
            }
            "agent.tool_result" => {
                let place = places.get(event["tool_use_id"].as_str().unwrap_or_default());
                if let Some(call) = place.and_then(|place| played.get_mut(*place)) {
                    call.text = text(&event);
                    call.is_error = event["is_error"] == true;
                }
            }
            // What is tried again, or goes on without a sandbox, is told by the results of the calls.
            "session.error" if event["error"]["retry_status"]["type"] == "retrying" => {}
            "session.error" => bail!("the session failed: {}", event["error"]["message"]),
            "session.status_idle" if event["stop_reason"]["type"] == "end_turn" => return Ok(played),
            "session.status_idle" => bail!("the session stopped: {}", event["stop_reason"]["type"]),
            "session.status_terminated" => bail!("the session was terminated"),
            // What else happens on the way is of no interest here.
            _ => {}
        }
    }
}

fn text(event: &Value) -> String {
    let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<&str>>().join("\n")
}
