//! `run`: one task, and the agent's last message on standard output. What happens on the way goes to standard error.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use crate::choice;
use crate::cli::Run;
use crate::client;
use crate::client::Client;
use crate::client::Task;
use crate::config::Config;
use crate::environment::Environment;
use crate::keys;
use crate::serve;
use crate::terminal::Output;
use crate::terminal::Terminal;
use crate::transcript::End;
use crate::transcript::Transcript;

const SYSTEM: &str = "You are a capable agent. Work in /workspace with your tools.";
/// Largest file that is sent with a task.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Runs it. The exit code is 0 when the turn ended well, 1 otherwise.
pub(crate) async fn run(config: Config, environment: &Environment, flags: &Run) -> Result<ExitCode> {
    let content = content(flags)?;
    if let Some(server) = &flags.server {
        let key = flags.key.as_deref().or_else(|| environment.get("JOURNEYMAN_API_KEY"));
        let key = key.context("a key for the server: give --key or set JOURNEYMAN_API_KEY")?;
        let model = flags.model.as_deref().or_else(|| environment.get("JOURNEYMAN_MODEL"));
        let model = model.context("a model of the server: give --model or set JOURNEYMAN_MODEL")?;
        return play(&Client::new(server, key, false)?, environment, flags, model, content).await;
    }
    let choice = choice::configured(&config.settings, environment, flags.model.as_deref())?;
    let choice = choice.context(
        "no model is configured: set JOURNEYMAN_ANTHROPIC_API_KEY, JOURNEYMAN_OPENAI_BASE_URL or JOURNEYMAN_SCRIPT, \
         or name a server with --server",
    )?;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen on a free port")?;
    let stop = serve::stop_signal()?;
    let running = serve::start(&config.settings, environment, listener).await?;
    let key = keys::usable(&running, environment, "run").await?;
    let client = Client::new(&running.url, &key, true)?;
    let outcome = tokio::select! {
        outcome = play(&client, environment, flags, &choice.model, content) => outcome,
        () = stop => Err(anyhow::anyhow!("stopped by a signal")),
    };
    running.end().await?;
    outcome
}

async fn play(
    client: &Client,
    environment: &Environment,
    flags: &Run,
    model: &str,
    content: Value,
) -> Result<ExitCode> {
    let system = flags.system.as_deref().unwrap_or(SYSTEM);
    let networking = client::unrestricted();
    let task = Task { name: "run", model, system: Some(system), tools: &flags.tools, networking };
    let made = client.prepare(&task).await?;
    let mut events = client.stream(&made.session).await?;
    let mut transcript = Transcript::new(Terminal::new(Output::Err, environment.get("NO_COLOR").is_some()));
    client.message(&made.session, content).await?;
    loop {
        let Some(event) = events.next().await? else { bail!("the stream ended before the session did") };
        match transcript.show(&event) {
            None => {}
            Some(End::Idle(reason)) if reason == "end_turn" => {
                println!("{}", transcript.message);
                return Ok(ExitCode::SUCCESS);
            }
            Some(End::Idle(_) | End::Terminated) => return Ok(ExitCode::FAILURE),
        }
    }
}

/// The task and its files as content blocks.
fn content(flags: &Run) -> Result<Value> {
    let mut blocks = Vec::new();
    for path in &flags.files {
        blocks.push(file(path).with_context(|| format!("read {}", path.display()))?);
    }
    blocks.push(json!({"type": "text", "text": flags.task}));
    Ok(Value::Array(blocks))
}

/// A file as the block that fits it: an image, a PDF, or text.
fn file(path: &Path) -> Result<Value> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("it has {bytes} bytes, more than {FILE_BYTES_MAX}");
    }
    let content = std::fs::read(path)?;
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (kind, media_type) = match extension.as_str() {
        "png" => ("image", "image/png"),
        "jpg" | "jpeg" => ("image", "image/jpeg"),
        "gif" => ("image", "image/gif"),
        "webp" => ("image", "image/webp"),
        "pdf" => ("document", "application/pdf"),
        _ => {
            let text = String::from_utf8(content)
                .context("it is neither text nor a known kind of image or document")?;
            let source = json!({"type": "text", "media_type": "text/plain", "data": text});
            return Ok(json!({"type": "document", "source": source, "title": title}));
        }
    };
    let source = json!({"type": "base64", "media_type": media_type, "data": BASE64_STANDARD.encode(content)});
    Ok(json!({"type": kind, "source": source}))
}
