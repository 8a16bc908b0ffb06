//! What the tests share: requests, models that point at a server, and a recorder of progress.

use std::sync::Arc;
use std::sync::Mutex;

use api::completion::Failure;
use api::completion::Message;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use api::completion::Role;
use model::Config;
use model::Models;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use testkit::model_server::ModelServer;

/// A key that must never be seen outside a header.
pub(crate) const KEY: &str = "sk-test-canary-5f2b8c";

/// A block from its exact text.
pub(crate) fn raw(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

pub(crate) fn block(value: &Value) -> Arc<RawValue> {
    raw(&value.to_string())
}

pub(crate) fn user(blocks: &[Value]) -> Message {
    Message { role: Role::User, content: blocks.iter().map(block).collect() }
}

pub(crate) fn assistant(blocks: &[Value]) -> Message {
    Message { role: Role::Assistant, content: blocks.iter().map(block).collect() }
}

pub(crate) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub(crate) fn bash() -> Arc<RawValue> {
    raw(
        r#"{"name":"bash","description":"Runs a command.","input_schema":{"type":"object","properties":{"command":{"type":"string"}}}}"#,
    )
}

pub(crate) fn request(messages: Vec<Message>) -> Request {
    Request {
        model: "claude-test".to_owned(),
        speed: None,
        effort: None,
        system: "You are a test.".to_owned(),
        tools: vec![bash()],
        messages,
    }
}

pub(crate) fn hello() -> Request {
    request(vec![user(&[text("hello")])])
}

/// A configuration as an operator writes it.
pub(crate) fn config(toml: &str) -> Config {
    toml::from_str(toml).unwrap()
}

/// Models behind a server that speaks the Messages API, with more settings of the provider.
pub(crate) fn messages_with(server: &ModelServer, settings: &str) -> Models {
    let url = server.url();
    let toml = format!(
        "[providers.upstream]\nkind = 'messages'\nbase_url = '{url}'\napi_key = '{KEY}'\n{settings}\n\
         [[routes]]\npattern = '*'\nprovider = 'upstream'\n"
    );
    Models::new(config(&toml)).unwrap()
}

pub(crate) fn messages(server: &ModelServer) -> Models {
    messages_with(server, "")
}

/// Models behind a server that speaks chat completions.
pub(crate) fn chat_with(server: &ModelServer, settings: &str) -> Models {
    let url = server.url();
    let toml = format!(
        "[providers.upstream]\nkind = 'chat'\nbase_url = '{url}/v1'\napi_key = '{KEY}'\n{settings}\n\
         [[routes]]\npattern = '*'\nprovider = 'upstream'\n"
    );
    Models::new(config(&toml)).unwrap()
}

/// Models that play a script.
pub(crate) fn scripted(script: &str) -> Models {
    let mut config =
        config("[providers.script]\nkind = 'scripted'\n[[routes]]\npattern = '*'\nprovider = 'script'\n");
    let scripted = model::ScriptedConfig { script: None, inline: Some(script.to_owned()) };
    config.providers.insert("script".to_owned(), model::ProviderConfig::Scripted(scripted));
    Models::new(config).unwrap()
}

/// Asks, and keeps what was told on the way.
pub(crate) async fn ask(models: &Models, request: &Request) -> (Result<Reply, Failure>, Vec<Progress>) {
    let told = Mutex::new(Vec::new());
    let result = models.complete(request, &|progress| told.lock().unwrap().push(progress)).await;
    (result, told.into_inner().unwrap())
}

pub(crate) async fn reply(models: &Models, request: &Request) -> Reply {
    ask(models, request).await.0.unwrap()
}

pub(crate) async fn failure(models: &Models, request: &Request) -> Failure {
    ask(models, request).await.0.unwrap_err()
}

/// The texts of a reply's blocks.
pub(crate) fn blocks(reply: &Reply) -> Vec<&str> {
    reply.blocks.iter().map(|block| block.get()).collect()
}

/// Everything of a reply, to compare two.
pub(crate) fn whole(reply: &Reply) -> Value {
    let details = reply.stop_details.as_ref().map(|details| details.get());
    json!({"blocks": blocks(reply), "stop": reply.stop_reason, "details": details, "usage": reply.usage, "model": reply.model})
}

pub(crate) fn start(index: usize, kind: &str) -> Progress {
    Progress::BlockStart { index, kind: kind.to_owned() }
}

pub(crate) fn said(index: usize, text: &str) -> Progress {
    Progress::Text { index, text: text.to_owned() }
}
