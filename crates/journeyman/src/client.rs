//! A small client of the server's own HTTP API: what `quickstart` and `run` do, any client can do.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

/// The beta that every managed-agents request names.
pub(crate) const BETA: &str = "managed-agents-2026-04-01";
/// Longest single event that is read.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// A server and a key.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// The networking that permits every public host.
pub(crate) fn unrestricted() -> Value {
    json!({"type": "unrestricted"})
}

/// What a session is to be.
pub(crate) struct Task<'a> {
    /// Name of the agent and the environment, and title of the session.
    pub(crate) name: &'a str,
    /// The agent's model.
    pub(crate) model: &'a str,
    /// Its system prompt.
    pub(crate) system: Option<&'a str>,
    /// The tools it may use; all of them when empty.
    pub(crate) tools: &'a [String],
    /// The networking of its environment, as in the API.
    pub(crate) networking: Value,
}

/// Ids of what was made for a task.
pub(crate) struct Made {
    /// The agent.
    pub(crate) agent: String,
    /// The environment.
    pub(crate) environment: String,
    /// The session.
    pub(crate) session: String,
}

impl Client {
    /// A client. `is_local` keeps requests to a server of this process away from any configured proxy.
    pub(crate) fn new(url: &str, key: &str, is_local: bool) -> Result<Self> {
        let builder = reqwest::Client::builder();
        let builder = if is_local { builder.no_proxy() } else { builder };
        let http = builder.build().context("set up the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Makes an agent, an environment and a session.
    pub(crate) async fn prepare(&self, task: &Task<'_>) -> Result<Made> {
        let mut toolset = json!({"type": "agent_toolset_20260401"});
        if !task.tools.is_empty() {
            toolset["default_config"] = json!({"enabled": false});
            let enabled = task.tools.iter().map(|name| json!({"name": name, "enabled": true}));
            toolset["configs"] = enabled.collect();
        }
        let mut agent = json!({"name": task.name, "model": task.model, "tools": [toolset]});
        if let Some(system) = task.system {
            agent["system"] = system.into();
        }
        let agent = id(&self.post("/v1/agents", &agent).await?)?;
        let config = json!({"type": "cloud", "networking": task.networking});
        let environment = json!({"name": task.name, "config": config});
        let environment = id(&self.post("/v1/environments", &environment).await?)?;
        let session = json!({"agent": agent, "environment_id": environment, "title": task.name});
        let session = id(&self.post("/v1/sessions", &session).await?)?;
        Ok(Made { agent, environment, session })
    }

    /// Sends a user message with these content blocks.
    pub(crate) async fn message(&self, session: &str, content: Value) -> Result<()> {
        let body = json!({"events": [{"type": "user.message", "content": content}]});
        self.post(&format!("/v1/sessions/{session}/events"), &body).await.map(drop)
    }

    /// A session as it is now.
    pub(crate) async fn session(&self, session: &str) -> Result<Value> {
        let path = format!("/v1/sessions/{session}");
        let response = self.request(self.http.get(format!("{}{path}", self.url))).send().await;
        read(&path, response.with_context(|| format!("get {path}"))?).await
    }

    /// Opens a session's stream.
    pub(crate) async fn stream(&self, session: &str) -> Result<Events> {
        let path = format!("/v1/sessions/{session}/events/stream");
        let response = self.request(self.http.get(format!("{}{path}", self.url))).send().await;
        let response = response.with_context(|| format!("open {path}"))?;
        if !response.status().is_success() {
            read(&path, response).await?;
            bail!("open {path}: the server answered without a stream");
        }
        Ok(Events { response, buffer: Vec::new() })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response = self.request(self.http.post(format!("{}{path}", self.url))).json(body).send().await;
        read(path, response.with_context(|| format!("post {path}"))?).await
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request
            .header("x-api-key", &self.key)
            .header("anthropic-beta", BETA)
            .header("anthropic-version", "2023-06-01")
    }
}

/// An open stream of events.
pub(crate) struct Events {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let frame = String::from_utf8(frame).context("read the stream: it is not UTF-8")?;
                let data: Vec<&str> = frame.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if !data.is_empty() {
                    return serde_json::from_str(&data.join("\n"))
                        .map(Some)
                        .context("read an event of the stream");
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                bail!("read the stream: an event is larger than {EVENT_BYTES_MAX} bytes");
            }
            match self.response.chunk().await.context("read the stream")? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

async fn read(path: &str, response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let body = response.bytes().await.with_context(|| format!("read the answer of {path}"))?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bail!("{path}: {status}: {}", value["error"]["message"].as_str().unwrap_or("no message"));
    }
    Ok(value)
}

fn id(value: &Value) -> Result<String> {
    Ok(value["id"].as_str().context("the server answered with an object without id")?.to_owned())
}
