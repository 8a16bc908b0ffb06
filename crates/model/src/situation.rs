//! Where a conversation stands, as a script sees it. Derived from the request alone, so that a restarted server comes
//! to the same answer.

use api::completion::Request;
use api::completion::Role;
use serde_json::Value;

/// What the conditions of a script look at.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) model: &'a str,
    pub(crate) system: &'a str,
    /// The last text of the user.
    pub(crate) user: String,
    /// How many messages with text the user has sent.
    pub(crate) turn: usize,
    /// One for the first reply to that text, two after its tool calls, and so on.
    pub(crate) step: usize,
    /// Results that the last message brings.
    pub(crate) results: Vec<ToolResult>,
    /// How many messages there are.
    pub(crate) messages: usize,
}

/// The result of a tool call.
#[derive(Debug)]
pub(crate) struct ToolResult {
    pub(crate) tool: String,
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl<'a> Situation<'a> {
    /// Reads the conversation.
    pub(crate) fn of(request: &'a Request) -> Self {
        let mut situation = Self {
            model: &request.model,
            system: &request.system,
            user: String::new(),
            turn: 0,
            step: 1,
            results: Vec::new(),
            messages: request.messages.len(),
        };
        let mut calls: Vec<(String, String)> = Vec::new();
        for message in &request.messages {
            let blocks: Vec<Value> = message
                .content
                .iter()
                .map(|block| serde_json::from_str(block.get()).unwrap_or_default())
                .collect();
            situation.results.clear();
            match message.role {
                Role::Assistant => {
                    situation.step += 1;
                    let names = blocks.iter().filter(|block| block["type"] == "tool_use");
                    calls.extend(names.map(|block| (string(&block["id"]), string(&block["name"]))));
                }
                Role::User => {
                    let text = text_of(&blocks);
                    if !text.is_empty() {
                        situation.user = text;
                        situation.turn += 1;
                        situation.step = 1;
                    }
                    let results = blocks.iter().filter(|block| block["type"] == "tool_result");
                    situation.results = results.map(|block| ToolResult::of(block, &calls)).collect();
                }
            }
        }
        situation
    }

    /// Puts values in for `{{user}}`, `{{result}}`, `{{turn}}`, `{{step}}` and `{{model}}`. Other text in double
    /// braces stays.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let value =
                after.split_once("}}").and_then(|(name, after)| Some((self.value(name.trim())?, after)));
            if let Some((value, after)) = value {
                out.push_str(&value);
                rest = after;
            } else {
                out.push_str("{{");
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "user" => Some(self.user.clone()),
            "result" => {
                let texts: Vec<&str> = self.results.iter().map(|result| result.text.as_str()).collect();
                Some(texts.join("\n"))
            }
            "turn" => Some(self.turn.to_string()),
            "step" => Some(self.step.to_string()),
            "model" => Some(self.model.to_owned()),
            _ => None,
        }
    }
}

impl ToolResult {
    fn of(block: &Value, calls: &[(String, String)]) -> Self {
        let id = string(&block["tool_use_id"]);
        let tool = calls.iter().rev().find(|(call, _)| *call == id).map(|(_, name)| name.clone());
        let text = match &block["content"] {
            Value::Array(blocks) => text_of(blocks),
            content => string(content),
        };
        Self { tool: tool.unwrap_or_default(), text, is_error: block["is_error"] == true }
    }
}

fn text_of(blocks: &[Value]) -> String {
    let texts = blocks.iter().filter(|block| block["type"] == "text");
    texts.map(|block| string(&block["text"])).collect::<Vec<_>>().join("\n")
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
