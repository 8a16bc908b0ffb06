//! A session as a person reads it: who did what, with which input and output, when, and for how many tokens.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Instant;

use serde_json::Value;

use crate::terminal::Style;
use crate::terminal::Terminal;
use crate::terminal::tame;

/// Lines of one input or output that are shown.
const LINES_MAX: usize = 30;
/// Where the text of a line begins.
const INDENT: usize = 20;

/// Prints events and remembers what the end of the story needs.
pub(crate) struct Transcript {
    terminal: Terminal,
    started: Instant,
    calls: HashMap<String, Instant>,
    request_started: Option<Instant>,
    /// Texts that tools returned, oldest first.
    pub(crate) outputs: Vec<String>,
    /// The agent's last message.
    pub(crate) message: String,
}

/// How a session came to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Idle, for this reason.
    Idle(String),
    /// Terminated.
    Terminated,
}

impl Transcript {
    /// A transcript whose time starts now.
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            started: Instant::now(),
            calls: HashMap::new(),
            request_started: None,
            outputs: Vec::new(),
            message: String::new(),
        }
    }

    /// Prints an event. Some events end the story.
    pub(crate) fn show(&mut self, event: &Value) -> Option<End> {
        match event["type"].as_str().unwrap_or_default() {
            // A message is on the stream twice: when it was taken in, and when the agent gets it.
            "user.message" if event["processed_at"].is_null() => {}
            "user.message" => self.say(Style::Bold, "user", &text_of(event)),
            "agent.message" => {
                self.message = text_of(event);
                let message = self.message.clone();
                self.say(Style::Bold, "agent", &message);
            }
            "agent.thinking" => self.say(Style::Faint, "agent", "(thinking)"),
            "agent.tool_use" => self.call(event),
            "agent.tool_result" => self.result(event),
            "span.model_request_start" => self.request_started = Some(Instant::now()),
            "span.model_request_end" => self.request(event),
            "session.error" => {
                let error = &event["error"];
                let told = format!("{}: {}", plain(&error["type"]), plain(&error["message"]));
                self.say(Style::Red, "error", &told);
            }
            "session.status_rescheduled" => self.say(Style::Faint, "session", "waits, then tries again"),
            "session.status_idle" => {
                let reason = plain(&event["stop_reason"]["type"]).to_owned();
                let style = if reason == "end_turn" { Style::Green } else { Style::Red };
                self.say(style, "session", &format!("idle: {reason}"));
                return Some(End::Idle(reason));
            }
            "session.status_terminated" => {
                self.say(Style::Red, "session", "terminated");
                return Some(End::Terminated);
            }
            // The rest (status, usage and whatever later versions add) says nothing that the lines above do not.
            _ => {}
        }
        None
    }

    fn call(&mut self, event: &Value) {
        self.calls.insert(plain(&event["id"]).to_owned(), Instant::now());
        let input = &event["input"];
        let main = ["command", "file_path", "pattern"].iter().find_map(|key| input[key].as_str());
        let name = plain(&event["name"]);
        self.say(Style::Cyan, name, main.unwrap_or(&input.to_string()));
        for key in ["content", "old_string", "new_string"] {
            if let Some(text) = input[key].as_str() {
                self.block(Style::Faint, text);
            }
        }
    }

    fn result(&mut self, event: &Value) {
        let text = text_of(event);
        let called = self.calls.remove(plain(&event["tool_use_id"]));
        let took = called.map_or_else(String::new, |at| format!(" after {} ms", at.elapsed().as_millis()));
        let is_error = event["is_error"] == true;
        let (style, told) = if is_error { (Style::Red, "failed") } else { (Style::Green, "done") };
        self.say(style, "tool", &format!("{told}{took}"));
        self.block(Style::Plain, &text);
        if !is_error {
            self.outputs.push(text);
        }
    }

    fn request(&mut self, event: &Value) {
        let usage = &event["model_usage"];
        let count = |key: &str| usage[key].as_u64().unwrap_or(0);
        let read =
            count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens");
        let took = self.request_started.take().map_or(0, |at| at.elapsed().as_millis());
        let told = format!("{read} tokens read, {} written, {took} ms", count("output_tokens"));
        self.say(Style::Faint, "model", &told);
    }

    /// One line with time and speaker; further lines of the text are indented under it.
    fn say(&self, style: Style, who: &str, text: &str) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let mut lines = text.trim_end().lines();
        let first = tame(lines.next().unwrap_or_default());
        let time = self.terminal.paint(Style::Faint, &format!("{elapsed:>8.3}s"));
        let who = self.terminal.paint(style, &format!("{who:<8}"));
        let first = if style == Style::Faint { self.terminal.paint(style, &first) } else { first };
        self.terminal.line(format!("{time}  {who} {first}").trim_end());
        for line in lines {
            self.terminal.line(format!("{:INDENT$}{}", "", tame(line)).trim_end());
        }
    }

    /// A text as it is, behind a rule, cut when it is long.
    fn block(&self, style: Style, text: &str) {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in lines.iter().take(LINES_MAX) {
            let line = self.terminal.paint(style, &tame(line));
            self.terminal.line(format!("{:INDENT$}\u{2502} {line}", "").trim_end());
        }
        if lines.len() > LINES_MAX {
            let left = format!("{:INDENT$}\u{2502} … {} more lines", "", lines.len() - LINES_MAX);
            self.terminal.line(&self.terminal.paint(Style::Faint, &left));
        }
    }
}

/// What a session cost, in words.
pub(crate) fn usage(session: &Value) -> String {
    let usage = &session["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    let mut told = format!("{} tokens in, {} out", count("input_tokens"), count("output_tokens"));
    if count("cache_read_input_tokens") > 0 {
        write!(told, ", {} read from the cache", count("cache_read_input_tokens"))
            .expect("a string takes every write");
    }
    let active = session["stats"]["active_seconds"].as_f64().unwrap_or(0.0);
    write!(told, ", {active:.2} s active").expect("a string takes every write");
    told
}

/// The text blocks of an event, one after the other; other blocks are named.
fn text_of(event: &Value) -> String {
    let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = blocks
        .iter()
        .map(|block| {
            block["text"].as_str().map_or_else(|| format!("[{}]", plain(&block["type"])), str::to_owned)
        })
        .collect();
    texts.join("\n")
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
