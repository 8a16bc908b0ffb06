//! Replies of the [model server](crate::model_server): events of the Messages API or chunks of a chat completion, and
//! what happens between their bytes.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;

/// A point that the server does not pass before the test lets it. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_open: watch::Sender<bool>,
    is_reached: watch::Sender<bool>,
}

/// What the server sends and does, in order.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) parts: Vec<Part>,
    /// Index of the next content block.
    blocks: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    Gate(Gate),
    Delay(Duration),
    Stall,
    Break,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until the server has come to the gate: everything before it is sent.
    ///
    /// # Panics
    /// Never: the gate holds what it waits for.
    pub async fn reached(&self) {
        let mut reached = self.is_reached.subscribe();
        drop(reached.wait_for(|reached| *reached).await.expect("the sender lives in self"));
    }

    pub(crate) async fn pass(&self) {
        self.is_reached.send_replace(true);
        let mut open = self.is_open.subscribe();
        drop(open.wait_for(|open| *open).await.expect("the sender lives in self"));
    }
}

impl Reply {
    /// An event stream without any event.
    pub fn stream() -> Self {
        let headers = vec![("content-type".to_owned(), "text/event-stream; charset=utf-8".to_owned())];
        Self { status: 200, headers, parts: Vec::new(), blocks: 0 }
    }

    /// A Messages API stream that has begun, with small counts of usage.
    pub fn message() -> Self {
        Self::message_with(&json!({"input_tokens": 10, "output_tokens": 1}))
    }

    /// A Messages API stream that has begun with these counts.
    pub fn message_with(usage: &Value) -> Self {
        Self::stream().begin(usage)
    }

    /// Begins a Messages API message, for a stream that did something else first.
    #[must_use]
    pub fn begin(self, usage: &Value) -> Self {
        self.event(&json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        }}))
    }

    /// A whole reply of one text.
    pub fn saying(text: &str) -> Self {
        Self::message().text(text).stop("end_turn")
    }

    /// A whole reply of one tool call.
    pub fn calling(id: &str, tool: &str, input: &Value) -> Self {
        Self::message().tool_use(id, tool, input).stop("tool_use")
    }

    /// A whole answer that is an error of the Messages API.
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}});
        Self::plain(status, "application/json", body.to_string()).header("request-id", "req_test")
    }

    /// A whole answer with a body of any type.
    pub fn plain(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let headers = vec![
            ("content-type".to_owned(), content_type.to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
        ];
        Self { status, headers, parts: vec![Part::Bytes(body)], blocks: 0 }
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an event with the name that its `type` gives.
    #[must_use]
    pub fn event(self, data: &Value) -> Self {
        let name = data["type"].as_str().unwrap_or("message").to_owned();
        self.raw(format!("event: {name}\ndata: {data}\n\n"))
    }

    /// Adds bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: impl Into<Bytes>) -> Self {
        self.parts.push(Part::Bytes(bytes.into()));
        self
    }

    /// Adds a block: its start, its deltas, its stop.
    #[must_use]
    pub fn block(self, start: &Value, deltas: &[Value]) -> Self {
        let index = self.blocks;
        let opened =
            self.event(&json!({"type": "content_block_start", "index": index, "content_block": start}));
        let delta = |reply: Self, delta: &Value| {
            reply.event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
        };
        let filled = deltas.iter().fold(opened, delta);
        let mut closed = filled.event(&json!({"type": "content_block_stop", "index": index}));
        closed.blocks += 1;
        closed
    }

    /// Adds a text, one delta per word.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        let words = text.split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word}));
        self.block(&json!({"type": "text", "text": ""}), &words.collect::<Vec<_>>())
    }

    /// Adds thinking with its signature.
    #[must_use]
    pub fn thinking(self, thinking: &str, signature: &str) -> Self {
        let start = json!({"type": "thinking", "thinking": "", "signature": ""});
        let deltas = [
            json!({"type": "thinking_delta", "thinking": thinking}),
            json!({"type": "signature_delta", "signature": signature}),
        ];
        self.block(&start, &deltas)
    }

    /// Adds a tool call; its input comes in two pieces.
    #[must_use]
    pub fn tool_use(self, id: &str, tool: &str, input: &Value) -> Self {
        let text = input.to_string();
        let (left, right) = text.split_at(text.floor_char_boundary(text.len() / 2));
        let start = json!({"type": "tool_use", "id": id, "name": tool, "input": {}});
        let delta = |json: &str| json!({"type": "input_json_delta", "partial_json": json});
        self.block(&start, &[delta(left), delta(right)])
    }

    /// Ends the message.
    #[must_use]
    pub fn stop(self, reason: &str) -> Self {
        self.stop_with(&json!({"stop_reason": reason, "stop_sequence": null}), &json!({"output_tokens": 20}))
    }

    /// Ends the message with a delta and counts of one's own.
    #[must_use]
    pub fn stop_with(self, delta: &Value, usage: &Value) -> Self {
        let ending = self.event(&json!({"type": "message_delta", "delta": delta, "usage": usage}));
        ending.event(&json!({"type": "message_stop"}))
    }

    /// Adds a chunk of a chat completion with this delta.
    #[must_use]
    pub fn chat_delta(self, delta: &Value) -> Self {
        self.chat_chunk(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
    }

    /// Adds a chunk of a chat completion.
    #[must_use]
    pub fn chat_chunk(self, chunk: &Value) -> Self {
        self.raw(format!("data: {chunk}\n\n"))
    }

    /// Ends a chat completion: reason, counts in a chunk without choices, `[DONE]`.
    #[must_use]
    pub fn chat_stop(self, reason: &str) -> Self {
        self.chat_chunk(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
            .chat_chunk(&json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 4}}}))
            .raw("data: [DONE]\n\n")
    }

    /// Waits here until the gate is open.
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.parts.push(Part::Gate(gate.clone()));
        self
    }

    /// Waits here for some time.
    #[must_use]
    pub fn delay(mut self, duration: Duration) -> Self {
        self.parts.push(Part::Delay(duration));
        self
    }

    /// Sends nothing more from here on, and keeps the connection.
    #[must_use]
    pub fn stall(mut self) -> Self {
        self.parts.push(Part::Stall);
        self
    }

    /// Closes the connection here, in the middle of the answer.
    #[must_use]
    pub fn break_off(mut self) -> Self {
        self.parts.push(Part::Break);
        self
    }

    /// The bytes of the body, without pauses.
    pub fn body(&self) -> Vec<u8> {
        let bytes = self.parts.iter().filter_map(|part| match part {
            Part::Bytes(bytes) => Some(bytes.as_ref()),
            Part::Gate(_) | Part::Delay(_) | Part::Stall | Part::Break => None,
        });
        bytes.collect::<Vec<_>>().concat()
    }

    /// The same answer whose body is cut before byte `at`: what follows is sent after the gate.
    #[must_use]
    pub fn gate_at(self, at: usize, gate: &Gate) -> Self {
        let (before, after) = self.cut(at);
        before.gate(gate).with(after)
    }

    /// The same answer, closed before byte `at` of its body.
    #[must_use]
    pub fn break_at(self, at: usize) -> Self {
        self.cut(at).0.break_off()
    }

    /// The same answer in chunks of at most `size` bytes, each in an HTTP chunk of its own.
    #[must_use]
    pub fn in_chunks(self, size: usize) -> Self {
        let body = self.body();
        let parts =
            body.chunks(size.max(1)).map(|chunk| Part::Bytes(Bytes::copy_from_slice(chunk))).collect();
        Self { parts, ..self }
    }

    /// The same answer in two HTTP chunks, the second one starting with byte `at`.
    #[must_use]
    pub fn split_at(self, at: usize) -> Self {
        let body = Bytes::from(self.body());
        let at = at.min(body.len());
        let parts = vec![Part::Bytes(body.slice(..at)), Part::Bytes(body.slice(at..))];
        Self { parts, ..self }
    }

    fn cut(self, at: usize) -> (Self, Vec<Part>) {
        let mut left = at;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for part in self.parts {
            match part {
                Part::Bytes(bytes) if after.is_empty() && bytes.len() > left => {
                    before.push(Part::Bytes(bytes.slice(..left)));
                    after.push(Part::Bytes(bytes.slice(left..)));
                }
                Part::Bytes(bytes) if after.is_empty() => {
                    left -= bytes.len();
                    before.push(Part::Bytes(bytes));
                }
                other if after.is_empty() => before.push(other),
                other => after.push(other),
            }
        }
        (Self { parts: before, ..self }, after)
    }

    fn with(mut self, parts: Vec<Part>) -> Self {
        self.parts.extend(parts);
        self
    }
}
