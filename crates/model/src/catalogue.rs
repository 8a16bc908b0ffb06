//! Models that can be listed, and what is known of well-known ones.
//!
//! The ids are those that the official SDK names. Release dates and limits are left open where the SDK does not say
//! them; the operator can add them under `known`.

use api::time::Timestamp;

use crate::config::Config;
use crate::config::ProviderConfig;
use crate::config::Route;
use crate::pattern;

/// A model as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The id that agents name.
    pub id: String,
    /// Name for people.
    pub display_name: String,
    /// Release date; the Unix epoch when unknown.
    pub created_at: Timestamp,
    /// Size of its context, when known.
    pub max_input_tokens: Option<u64>,
    /// Output limit, when known.
    pub max_tokens: Option<u64>,
}

struct Known {
    id: &'static str,
    display_name: &'static str,
    takes_adaptive_thinking: bool,
}

const fn known(id: &'static str, display_name: &'static str, takes_adaptive_thinking: bool) -> Known {
    Known { id, display_name, takes_adaptive_thinking }
}

const KNOWN: &[Known] = &[
    known("claude-fable-5-2", "Claude Fable 5.2", true),
    known("claude-mythos-5-2", "Claude Mythos 5.2", true),
    known("claude-haiku-5-5", "Claude Haiku 5.5", true),
    known("claude-sonnet-5-5", "Claude Sonnet 5.5", true),
    known("claude-fable-5-1", "Claude Fable 5.1", true),
    known("claude-opus-5-5", "Claude Opus 5.5", true),
    known("claude-mythos-5-1", "Claude Mythos 5.1", true),
    known("claude-sonnet-5", "Claude Sonnet 5", true),
    known("claude-fable-5", "Claude Fable 5", true),
    known("claude-mythos-5", "Claude Mythos 5", true),
    known("claude-opus-5", "Claude Opus 5", true),
    known("claude-opus-4-8", "Claude Opus 4.8", true),
    known("claude-opus-4-7", "Claude Opus 4.7", true),
    known("claude-mythos-preview", "Claude Mythos Preview", true),
    known("claude-opus-4-6", "Claude Opus 4.6", true),
    known("claude-sonnet-4-6", "Claude Sonnet 4.6", true),
    known("claude-haiku-4-5-20251001", "Claude Haiku 4.5", false),
    known("claude-opus-4-5-20251101", "Claude Opus 4.5", false),
    known("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", false),
];

/// Whether a well-known model takes adaptive thinking; `false` for every other.
pub(crate) fn takes_adaptive_thinking(id: &str) -> bool {
    KNOWN.iter().any(|known| known.id == id && known.takes_adaptive_thinking)
}

/// All models that the configuration names, in the order of the routes and then of their ids, without duplicates.
pub(crate) fn list(config: &Config) -> Vec<ModelInfo> {
    let mut ids: Vec<&str> = Vec::new();
    let routed = config.routes.iter().map(|route| route.pattern.as_str()).filter(|id| !id.contains('*'));
    let official = KNOWN.iter().map(|known| known.id).filter(|id| is_official(config, id));
    for id in routed.chain(config.known.keys().map(String::as_str)).chain(official) {
        if !ids.contains(&id) && route_of(config, id).is_some() {
            ids.push(id);
        }
    }
    ids.into_iter().map(|id| describe(config, id)).collect()
}

/// The first route that matches.
pub(crate) fn route_of<'a>(config: &'a Config, model: &str) -> Option<&'a Route> {
    config.routes.iter().find(|route| pattern::matches(&route.pattern, model))
}

fn is_official(config: &Config, id: &str) -> bool {
    let provider = route_of(config, id).and_then(|route| config.providers.get(&route.provider));
    match provider {
        Some(ProviderConfig::Messages(messages)) => {
            messages.base_url.trim_end_matches('/') == "https://api.anthropic.com"
        }
        Some(ProviderConfig::Chat(_) | ProviderConfig::Scripted(_)) | None => false,
    }
}

pub(crate) fn describe(config: &Config, id: &str) -> ModelInfo {
    let model = config.known.get(id).cloned().unwrap_or_default();
    let known = KNOWN.iter().find(|known| known.id == id);
    let display_name = model.display_name.or_else(|| known.map(|known| known.display_name.to_owned()));
    ModelInfo {
        id: id.to_owned(),
        display_name: display_name.unwrap_or_else(|| id.to_owned()),
        created_at: model.created_at.unwrap_or_default(),
        max_input_tokens: model.max_input_tokens,
        max_tokens: model.max_tokens,
    }
}
