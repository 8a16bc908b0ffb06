//! Routing, the list of models, prices, and configurations that cannot work.

use std::error::Error as _;

use api::completion::FailureKind;
use api::completion::Request;
use api::completion::Usage;
use api::time::Timestamp;
use model::Config;
use model::Models;
use testkit::model_server::ModelServer;
use testkit::model_server_reply::Reply;

use crate::fixture::*;

#[tokio::test]
async fn the_first_matching_route_decides_and_may_rename_the_model() {
    let (near, far) = (ModelServer::start().await, ModelServer::start().await);
    near.push(Reply::saying("near"));
    far.push(Reply::saying("far"));
    let toml = format!(
        "[providers.near]\nkind = 'messages'\nbase_url = '{}'\n[providers.far]\nkind = 'messages'\nbase_url = '{}/'\n\
         [[routes]]\npattern = 'local-*'\nprovider = 'near'\nupstream_model = 'qwen'\n\
         [[routes]]\npattern = '*-big'\nprovider = 'far'\n",
        near.url(),
        far.url()
    );
    let models = Models::new(config(&toml)).unwrap();
    let named = |model: &str| Request { model: model.to_owned(), ..hello() };
    assert_eq!(blocks(&reply(&models, &named("local-big")).await), [r#"{"type":"text","text":"near"}"#]);
    assert_eq!(near.request(0).await.json()["model"], "qwen");
    assert_eq!(blocks(&reply(&models, &named("very-big")).await), [r#"{"type":"text","text":"far"}"#]);
    assert_eq!(far.request(0).await.json()["model"], "very-big");
    let unknown = failure(&models, &named("other")).await;
    assert_eq!(unknown.kind, FailureKind::Rejected);
    assert_eq!(unknown.message, "ask model other: no provider is configured for it");
    assert!(models.serves("very-big") && !models.serves("other"));
}

#[test]
fn named_models_are_listed_with_what_is_known_of_them() {
    let toml = "[providers.claude]\nkind = 'messages'\n[providers.local]\nkind = 'chat'\nbase_url = 'http://127.0.0.1:1/v1'\n\
         [[routes]]\npattern = 'tiny'\nprovider = 'local'\n\
         [[routes]]\npattern = 'claude-opus-*'\nprovider = 'claude'\n\
         [known.claude-opus-5]\nmax_tokens = 64000\ncreated_at = '2026-01-02T00:00:00Z'\n\
         [known.nobody-serves-it]\n\
         [prices.'claude-*']\ninput = 5000000\noutput = 25000000\n";
    let models = Models::new(config(toml)).unwrap();
    let list = models.list();
    let ids: Vec<&str> = list.iter().map(|model| model.id.as_str()).collect();
    let expected = [
        "tiny",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-opus-4-8",
        "claude-opus-4-7",
        "claude-opus-4-6",
        "claude-opus-4-5-20251101",
    ];
    assert_eq!(ids, expected);
    assert_eq!((list[1].display_name.as_str(), list[1].max_tokens), ("Claude Opus 5", Some(64_000)));
    assert_eq!(list[1].created_at, Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
    assert_eq!((list[0].display_name.as_str(), list[0].created_at), ("tiny", Timestamp(0)));
    assert_eq!(models.describe("claude-opus-9").unwrap().display_name, "claude-opus-9");
    assert_eq!(models.describe("gpt"), None);
    let usage = Usage { input_tokens: 1_000_000, ..Usage::default() };
    assert_eq!(models.cost("claude-opus-5", &usage), Some(500_000_000));
    assert_eq!(models.cost("tiny", &usage), None);
}

#[test]
fn a_configuration_that_cannot_work_says_why() {
    let provider = |settings: &str| format!("[providers.p]\n{settings}\n");
    for (toml, message) in [
        (
            "[[routes]]\npattern = 'a'\nprovider = 'p'".to_owned(),
            "route models like a to provider p: no provider has that name",
        ),
        (
            provider("kind = 'messages'\napi_key_env = 'NOT_SET'"),
            "set up model provider p: the environment variable NOT_SET with its key is not set",
        ),
        (
            provider("kind = 'messages'\nbase_url = 'ftp://x'"),
            "set up model provider p: base_url is not an http or https address without user, query and fragment",
        ),
        (
            provider("kind = 'chat'\napi_key = \"a\\nb\""),
            "set up model provider p: header authorization cannot be sent as it is",
        ),
        (
            provider("kind = 'scripted'"),
            "set up model provider p: give either script, a file, or inline, the script itself",
        ),
        (
            provider("kind = 'scripted'\nscript = '/nonexistent/script.toml'"),
            "read the script /nonexistent/script.toml of model provider p",
        ),
        (provider("kind = 'scripted'\ninline = 'x = 1'"), "load the script of model provider p"),
    ] {
        let mut config = config(&toml);
        config.resolve_keys(|_| None);
        assert_eq!(Models::new(config).unwrap_err().to_string(), message);
    }
    let unknown = toml::from_str::<Config>("[providers.p]\nkind = 'chat'\nbase_uri = 'x'").unwrap_err();
    assert!(unknown.to_string().contains("base_uri"), "{unknown}");
}

#[test]
fn keys_come_from_the_environment_only_where_none_is_written() {
    let toml = "[providers.a]\nkind = 'messages'\napi_key_env = 'A'\n[providers.b]\nkind = 'chat'\napi_key = 'own'\napi_key_env = 'B'";
    let mut config = config(toml);
    config.resolve_keys(|name| Some(format!("from {name}")));
    let keys: Vec<&str> = config
        .providers
        .values()
        .map(|provider| match provider {
            model::ProviderConfig::Messages(config) => config.api_key.as_ref().unwrap().expose(),
            model::ProviderConfig::Chat(config) => config.api_key.as_ref().unwrap().expose(),
            model::ProviderConfig::Scripted(_) => unreachable!(),
        })
        .collect();
    assert_eq!(keys, ["from A", "own"]);
}

#[test]
fn a_script_with_a_mistake_says_where() {
    let mut config = config("[providers.p]\nkind = 'scripted'\ninline = ''");
    let script = "[[rule]]\nwhen = { tool = 'bash' }\n[[rule.reply]]\n[[rule.reply]]\n";
    let scripted = model::ScriptedConfig { script: None, inline: Some(script.to_owned()) };
    config.providers.insert("p".to_owned(), model::ProviderConfig::Scripted(scripted));
    let error = Models::new(config).unwrap_err();
    let expected = "read rule 1 of a script: it has several replies, which are played step by step, but its conditions hold at one step only";
    assert_eq!(error.source().unwrap().to_string(), expected);
}
