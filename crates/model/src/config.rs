//! Configuration of the models: who serves which model id, how, and at what price.
//!
//! Plain data, meant to be a section of the server's configuration file. It reads no environment by itself: where a
//! key is to come from a variable, whoever reads the environment calls [`Config::resolve_keys`] before
//! [`Models::new`](crate::Models::new).

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::time::Timestamp;
use serde::Deserialize;

use crate::prices::Price;
use crate::secret::Secret;
use crate::timeouts::Timeouts;

/// All of it. Empty by default: then every model is unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Providers by name; the name appears in messages about failures.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Which provider serves which model. The first route whose pattern matches decides.
    pub routes: Vec<Route>,
    /// What is known of single models, by id. Listed are those named here, in a route without `*`, and the
    /// well-known ones of a provider that speaks to the official endpoint.
    pub known: BTreeMap<String, ModelConfig>,
    /// List prices by model id or pattern. An exact id goes before a pattern, a longer pattern before a shorter one.
    pub prices: BTreeMap<String, Price>,
}

/// One rule of the routing table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A model id in which `*` stands for any text.
    pub pattern: String,
    /// Name of the provider.
    pub provider: String,
    /// The id to use towards the provider, when it is another one.
    #[serde(default)]
    pub upstream_model: Option<String>,
}

/// How a provider is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProviderConfig {
    /// The Messages API.
    Messages(MessagesConfig),
    /// OpenAI-compatible chat completions.
    Chat(ChatConfig),
    /// A script file.
    Scripted(ScriptedConfig),
}

/// A provider that speaks the Messages API.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessagesConfig {
    /// Where `/v1/messages` is appended to.
    pub base_url: String,
    /// The key.
    pub api_key: Option<Secret>,
    /// Environment variable that holds the key, used when `api_key` is absent.
    pub api_key_env: Option<String>,
    /// How the key is sent.
    pub auth: Auth,
    /// More request headers.
    pub headers: BTreeMap<String, Secret>,
    /// `anthropic-beta` values.
    pub betas: Vec<String>,
    /// `max_tokens` of a model that does not name its own.
    pub max_tokens: u64,
    /// What is said about thinking.
    pub thinking: Thinking,
    /// Whether and for how long prompts are cached.
    pub prompt_cache: PromptCache,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `x-api-key: KEY`
    #[default]
    XApiKey,
    /// `authorization: Bearer KEY`
    Bearer,
}

/// What is said about thinking in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Adaptive for well-known models that take it, else nothing.
    #[default]
    Auto,
    /// `{"type": "adaptive"}`
    Adaptive,
    /// `{"type": "disabled"}`
    Disabled,
    /// Nothing.
    Omitted,
}

/// Lifetime of cached prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PromptCache {
    /// No breakpoints are set.
    #[serde(rename = "off")]
    Off,
    /// Five minutes.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    OneHour,
}

/// A provider that speaks chat completions.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatConfig {
    /// Where `/chat/completions` is appended to; usually ends in `/v1`.
    pub base_url: String,
    /// The key, for servers that want one.
    pub api_key: Option<Secret>,
    /// Environment variable that holds the key, used when `api_key` is absent.
    pub api_key_env: Option<String>,
    /// More request headers.
    pub headers: BTreeMap<String, Secret>,
    /// Output limit of a model that does not name its own; unset leaves it to the server.
    pub max_tokens: Option<u64>,
    /// Name of the field that carries the limit: `max_tokens`, or `max_completion_tokens` for newer servers.
    pub max_tokens_field: MaxTokensField,
    /// Send the agent's effort as `reasoning_effort`.
    pub send_effort: bool,
    /// When the thinking that the server sent goes back to it, under the name that it used.
    pub send_reasoning: SendReasoning,
    /// Ask for counts of tokens with `stream_options`.
    pub stream_options: bool,
    /// Say `null` instead of an empty text for a message of the model that only calls tools.
    pub null_content: bool,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// When a server gets back the thinking that it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendReasoning {
    /// With messages that call tools.
    #[default]
    Calls,
    /// With every message.
    Always,
    /// With none.
    Never,
}

/// Name of the field that limits the output of a chat completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_tokens`
    #[default]
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

/// A provider that plays a script. Exactly one of the two fields is given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedConfig {
    /// File with the script.
    pub script: Option<PathBuf>,
    /// The script itself.
    pub inline: Option<String>,
}

/// What is known of one model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Name for people; the id when absent.
    pub display_name: Option<String>,
    /// When it was released.
    pub created_at: Option<Timestamp>,
    /// Size of its context.
    pub max_input_tokens: Option<u64>,
    /// Output limit, also sent as `max_tokens`.
    pub max_tokens: Option<u64>,
    /// Goes before the provider's setting.
    pub thinking: Option<Thinking>,
}

impl Default for MessagesConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.anthropic.com".to_owned(),
            api_key: None,
            api_key_env: None,
            auth: Auth::default(),
            headers: BTreeMap::new(),
            betas: Vec::new(),
            max_tokens: 32_000,
            thinking: Thinking::default(),
            prompt_cache: PromptCache::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".to_owned(),
            api_key: None,
            api_key_env: None,
            headers: BTreeMap::new(),
            max_tokens: None,
            max_tokens_field: MaxTokensField::default(),
            send_effort: false,
            send_reasoning: SendReasoning::default(),
            stream_options: true,
            null_content: false,
            timeouts: Timeouts::default(),
        }
    }
}

impl Config {
    /// Fills in the keys that come from the environment, asking `variable` for each. A variable that is not set
    /// leaves its provider without a key, which [`Models::new`](crate::Models::new) refuses.
    pub fn resolve_keys(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for provider in self.providers.values_mut() {
            let (key, name) = match provider {
                ProviderConfig::Messages(config) => (&mut config.api_key, &config.api_key_env),
                ProviderConfig::Chat(config) => (&mut config.api_key, &config.api_key_env),
                ProviderConfig::Scripted(_) => continue,
            };
            if key.is_none()
                && let Some(name) = name
            {
                *key = variable(name).filter(|value| !value.is_empty()).map(Secret::new);
            }
        }
    }
}
