//! The routing table: from a model id to the provider that serves it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use api::completion::Usage;

use crate::catalogue;
use crate::catalogue::ModelInfo;
use crate::chat::Chat;
use crate::config::Config;
use crate::config::ModelConfig;
use crate::config::ProviderConfig;
use crate::config::ScriptedConfig;
use crate::limits::CONNECT_TIMEOUT_MS;
use crate::limits::IDLE_CONNECTIONS_MAX;
use crate::messages::Messages;
use crate::prices::Prices;
use crate::scripted::Scripted;
use crate::telemetry::Measured;

/// Every model that the server can ask.
pub struct Models {
    config: Config,
    providers: BTreeMap<String, Provider>,
    prices: Prices,
    unknown: ModelConfig,
}

enum Provider {
    Messages(Messages),
    Chat(Chat),
    Scripted(Scripted),
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A route leads nowhere.
    #[error("route models like {pattern} to provider {provider}: no provider has that name")]
    UnknownProvider {
        /// The route's pattern.
        pattern: String,
        /// The name it gives.
        provider: String,
    },
    /// A key was to come from a variable that is not set.
    #[error("set up model provider {provider}: the environment variable {variable} with its key is not set")]
    KeyMissing {
        /// The provider.
        provider: String,
        /// The variable.
        variable: String,
    },
    /// A header's name or value cannot be sent.
    #[error("set up model provider {provider}: header {header} cannot be sent as it is")]
    Header {
        /// The provider.
        provider: String,
        /// Name of the header.
        header: String,
    },
    /// A base address is no HTTP address.
    #[error(
        "set up model provider {provider}: base_url is not an http or https address without user, query and fragment"
    )]
    BaseUrl {
        /// The provider.
        provider: String,
    },
    /// Neither or both of `script` and `inline`.
    #[error("set up model provider {provider}: give either script, a file, or inline, the script itself")]
    ScriptSource {
        /// The provider.
        provider: String,
    },
    /// A script file cannot be read.
    #[error("read the script {path} of model provider {provider}")]
    ScriptRead {
        /// The provider.
        provider: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A script makes no sense.
    #[error("load the script of model provider {provider}")]
    Script {
        /// The provider.
        provider: String,
        /// Why.
        #[source]
        source: crate::script::ScriptError,
    },
    /// The HTTP client cannot be built.
    #[error("set up the HTTP client for model providers")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Models {
    /// Sets the providers up. Reads script files, touches no network.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let client = client()?;
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            providers.insert(name.clone(), Provider::new(name, provider, &client)?);
        }
        for route in &config.routes {
            if !providers.contains_key(&route.provider) {
                let (pattern, provider) = (route.pattern.clone(), route.provider.clone());
                return Err(ConfigError::UnknownProvider { pattern, provider });
            }
        }
        let prices = Prices::new(&config.prices);
        Ok(Self { config, providers, prices, unknown: ModelConfig::default() })
    }

    /// Asks the model and waits for its whole reply; `progress` hears of it while it is being made. Dropping the
    /// future gives the request up and closes its connection.
    ///
    /// # Panics
    /// Never: every route's provider was looked up when the table was made.
    pub async fn complete(
        &self,
        request: &Request,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reply, Failure> {
        let Some(route) = catalogue::route_of(&self.config, &request.model) else {
            let message = format!("ask model {}: no provider is configured for it", request.model);
            return Err(Failure { kind: FailureKind::Rejected, message, retry_after_ms: None });
        };
        let upstream = route.upstream_model.as_deref().unwrap_or(&request.model);
        let model = self.config.known.get(&request.model).unwrap_or(&self.unknown);
        let provider = self.providers.get(&route.provider).expect("new() checked every route's provider");
        let measured = Measured::begin(&route.provider, &request.model);
        let noted = |step: Progress| {
            measured.note(&step);
            progress(step);
        };
        let result = match provider {
            Provider::Messages(messages) => messages.complete(request, upstream, model, &noted).await,
            Provider::Chat(chat) => chat.complete(request, upstream, model, &noted).await,
            Provider::Scripted(scripted) => scripted.complete(request, &noted).await,
        };
        measured.end(&result);
        result
    }

    /// Whether some provider serves the model.
    pub fn serves(&self, model: &str) -> bool {
        catalogue::route_of(&self.config, model).is_some()
    }

    /// The models that can be named, in a stable order. Patterns may serve more.
    pub fn list(&self) -> Vec<ModelInfo> {
        catalogue::list(&self.config)
    }

    /// What is known of a model that some provider serves, listed or not.
    pub fn describe(&self, model: &str) -> Option<ModelInfo> {
        self.serves(model).then(|| catalogue::describe(&self.config, model))
    }

    /// List cost in millionths of a cent; `None` for a model without a price.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<i64> {
        self.prices.cost(model, usage)
    }
}

impl Provider {
    fn new(name: &str, config: &ProviderConfig, client: &reqwest::Client) -> Result<Self, ConfigError> {
        match config {
            ProviderConfig::Messages(config) => Messages::new(name, config, client).map(Self::Messages),
            ProviderConfig::Chat(config) => Chat::new(name, config, client).map(Self::Chat),
            ProviderConfig::Scripted(config) => scripted(name, config).map(Self::Scripted),
        }
    }
}

fn scripted(name: &str, config: &ScriptedConfig) -> Result<Scripted, ConfigError> {
    let provider = || name.to_owned();
    let text =
        match (&config.script, &config.inline) {
            (Some(path), None) => std::fs::read_to_string(path).map_err(|source| {
                ConfigError::ScriptRead { provider: provider(), path: path.clone(), source }
            })?,
            (None, Some(text)) => text.clone(),
            (None, None) | (Some(_), Some(_)) => {
                return Err(ConfigError::ScriptSource { provider: provider() });
            }
        };
    Scripted::load(name, &text).map_err(|source| ConfigError::Script { provider: provider(), source })
}

/// One pool of connections for all providers. Redirects are not followed: a key goes where the operator said.
fn client() -> Result<reqwest::Client, ConfigError> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .build()
        .map_err(|source| ConfigError::Client { source })
}
