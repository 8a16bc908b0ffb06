//! Which model a command uses that starts a server of its own.

use anyhow::Result;
use anyhow::bail;
use model::ProviderConfig;
use model::Route;
use model::ScriptedConfig;

use crate::config::Settings;
use crate::environment::Environment;

/// What an agent uses on the Messages API when nobody named a model.
const MODEL: &str = "claude-sonnet-5-5";
/// The name under which the scripted model is asked.
const SCRIPTED: &str = "scripted";
/// Plays the quickstart without any model.
const SCRIPT: &str = include_str!("quickstart.toml");

/// The model of an agent.
pub(crate) struct Choice {
    /// Its id.
    pub(crate) model: String,
    /// What to tell the user about it.
    pub(crate) told: String,
}

/// Chooses among what is configured: the Messages API, else an OpenAI-compatible server, else a script. `None` when
/// nothing is configured.
pub(crate) fn configured(
    settings: &Settings,
    environment: &Environment,
    wanted: Option<&str>,
) -> Result<Option<Choice>> {
    let wanted = wanted.or_else(|| environment.get("JOURNEYMAN_MODEL"));
    let models = &settings.models;
    let rank = |route: &&Route| match models.providers.get(&route.provider) {
        Some(ProviderConfig::Messages(_)) => 0,
        Some(ProviderConfig::Chat(_)) => 1,
        Some(ProviderConfig::Scripted(_)) => 2,
        None => 3,
    };
    // A script that was given on purpose takes every model, see the routes that the configuration makes.
    let first = models
        .routes
        .iter()
        .find(|route| environment.get("JOURNEYMAN_SCRIPT").is_some() && route.pattern == "*");
    let Some(route) = first.or_else(|| models.routes.iter().min_by_key(rank)) else { return Ok(None) };
    let Some(provider) = models.providers.get(&route.provider) else { return Ok(None) };
    let exact = (!route.pattern.contains('*')).then_some(route.pattern.as_str());
    let (model, kind) = match provider {
        ProviderConfig::Messages(config) => {
            (wanted.or(exact).unwrap_or(MODEL), format!("Messages API at {}", config.base_url))
        }
        ProviderConfig::Chat(config) => match wanted.or(exact) {
            Some(model) => (model, format!("OpenAI-compatible server at {}", config.base_url)),
            None => bail!("name a model of {} with JOURNEYMAN_MODEL or --model", config.base_url),
        },
        ProviderConfig::Scripted(_) => (wanted.or(exact).unwrap_or(SCRIPTED), "scripted model".to_owned()),
    };
    Ok(Some(Choice { model: model.to_owned(), told: format!("{model} ({kind})") }))
}

/// Puts the built-in script in the place of a model.
pub(crate) fn scripted(settings: &mut Settings) -> Choice {
    let provider = ScriptedConfig { script: None, inline: Some(SCRIPT.to_owned()) };
    settings.models.providers.insert(SCRIPTED.to_owned(), ProviderConfig::Scripted(provider));
    let route = Route { pattern: "*".to_owned(), provider: SCRIPTED.to_owned(), upstream_model: None };
    settings.models.routes.push(route);
    let told = "scripted: no model key is set, so a script plays the model's part; server, sandbox and tools are real";
    Choice { model: SCRIPTED.to_owned(), told: told.to_owned() }
}
