//! A client that says exactly what a test wants said: every header, every byte.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;

/// The header that the routes of the beta need.
pub(crate) const BETA: (&str, &str) = ("anthropic-beta", "managed-agents-2026-04-01");
/// Longest that a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One tenant's view of a server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// Asserts the whole error envelope but the message, which it answers.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body = self.json();
        let message =
            body["error"]["message"].as_str().unwrap_or_else(|| panic!("no message in {}", self.text));
        assert!(!message.is_empty());
        let mut expected = json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": self.header("request-id").expect("a request id"),
        });
        if let Some(details) = body["error"].get("details") {
            expected["error"]["details"] = details.clone();
        }
        assert_eq!(body, expected);
        message.to_owned()
    }

    #[track_caller]
    pub(crate) fn invalid(&self) -> String {
        self.error(400, "invalid_request_error")
    }

    #[track_caller]
    pub(crate) fn not_found(&self) -> String {
        self.error(404, "not_found_error")
    }

    /// A 409 that clients must not try again.
    #[track_caller]
    pub(crate) fn conflict(&self) -> String {
        assert_eq!(self.header("x-should-retry"), Some("false"), "{}", self.text);
        self.error(409, "conflict_error")
    }

    /// The body without what differs from one answer to the next.
    #[track_caller]
    pub(crate) fn comparable(&self, id: &str) -> Value {
        let mut body: Value = serde_json::from_str(&self.text.replace(id, "ID")).unwrap();
        body.as_object_mut().unwrap().remove("request_id");
        json!([self.status, body])
    }
}

impl Client {
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// With the key and the beta header.
    pub(crate) fn usual(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).header("x-api-key", &self.key).header(BETA.0, BETA.1)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.usual("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.usual("DELETE", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        answer(self.usual("POST", path).header("content-type", "application/json").body(body)).await
    }

    /// A new agent's id.
    pub(crate) async fn agent(&self) -> String {
        let body = json!({"name": "Tester", "model": "scripted"});
        text(&self.post("/v1/agents", &body).await.ok()["id"])
    }

    /// A new environment's id.
    pub(crate) async fn environment(&self) -> String {
        let body = json!({"name": "somewhere", "config": {"type": "cloud"}});
        text(&self.post("/v1/environments", &body).await.ok()["id"])
    }

    /// A new session's body, with an agent and an environment of its own.
    pub(crate) async fn session(&self) -> Value {
        let (agent, environment) = (self.agent().await, self.environment().await);
        self.post("/v1/sessions", &json!({"agent": agent, "environment_id": environment})).await.ok()
    }

    /// Sends a user message; answers the event as it was stored.
    pub(crate) async fn say(&self, session: &str, words: &str) -> Value {
        let sent = self.post(&format!("/v1/sessions/{session}/events"), &message(words)).await.ok();
        sent["data"][0].clone()
    }

    /// Opens a stream of this path.
    pub(crate) async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Frames {
        let mut request = self.usual("GET", path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{}", response.text().await.unwrap());
        Frames { headers: response.headers().clone(), response, rest: String::new(), ready: VecDeque::new() }
    }

    /// Every public event of a session, oldest first.
    pub(crate) async fn history(&self, session: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/sessions/{session}/events")).await.ok();
        assert_eq!(page["next_page"], Value::Null);
        page["data"].as_array().unwrap().clone()
    }

    /// Follows a session until it has come to rest, and answers what it then is.
    pub(crate) async fn settled(&self, session: &str) -> Value {
        let mut frames = self.stream(&format!("/v1/sessions/{session}/events/stream"), Some("0")).await;
        frames.until("session.status_idle").await;
        self.get(&format!("/v1/sessions/{session}")).await.ok()
    }
}

/// The body that sends one user message.
pub(crate) fn message(words: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": words}]}]})
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("the body arrives whole");
    Answer { status, headers, text }
}

/// One frame of a stream, or a comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Value,
    pub(crate) comment: Option<String>,
}

impl Frame {
    #[track_caller]
    pub(crate) fn seq(&self) -> i64 {
        self.id.as_ref().unwrap_or_else(|| panic!("no id: {self:?}")).parse().unwrap()
    }

    pub(crate) fn kind(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }
}

/// The frames of an open stream, one after the other.
pub(crate) struct Frames {
    pub(crate) headers: HeaderMap,
    response: Response,
    rest: String,
    ready: VecDeque<Frame>,
}

impl Frames {
    /// The next frame, comments included; `None` when the stream has ended.
    pub(crate) async fn next_raw(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a frame in time");
            let Some(chunk) = chunk.unwrap() else {
                assert_eq!(self.rest, "", "the stream ended inside of a frame");
                return None;
            };
            self.rest.push_str(std::str::from_utf8(&chunk).expect("no character is cut"));
            while let Some(end) = self.rest.find("\n\n") {
                self.ready.push_back(parse(&self.rest[..end]));
                self.rest.drain(..end + 2);
            }
        }
    }

    /// The next frame that is no comment.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_raw().await?;
            if frame.comment.is_none() {
                return Some(frame);
            }
        }
    }

    /// All frames up to the next one of this type.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("ended before {kind}, after {frames:#?}"));
            frames.push(frame);
            if frames.last().unwrap().kind() == kind {
                return frames;
            }
        }
    }

    /// All frames up to the end of the stream.
    pub(crate) async fn drain(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

fn parse(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("", comment)) => frame.comment = Some(comment.to_owned()),
            Some(("id", id)) => frame.id = Some(id.to_owned()),
            Some(("event", event)) => frame.event = Some(event.to_owned()),
            Some(("data", data)) => frame.data = serde_json::from_str(data).unwrap(),
            _ => panic!("an unexpected line: {line}"),
        }
    }
    frame
}
