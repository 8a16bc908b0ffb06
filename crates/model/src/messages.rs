//! The Messages API: sends a request and reads the reply.

mod decoder;

use api::completion::Failure;
use api::completion::Message;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;

use crate::catalogue;
use crate::config::Auth;
use crate::config::MessagesConfig;
use crate::config::ModelConfig;
use crate::config::Thinking;
use crate::history;
use crate::history::Protocol;
use crate::models::ConfigError;
use crate::prompt;
use crate::prompt::Settings;
use crate::quirks::Quirk;
use crate::quirks::Quirks;
use crate::secret::Secret;
use crate::upstream::Parts;
use crate::upstream::Upstream;

use decoder::Decoder;

/// The API version that the official SDK 2.12 sends.
const VERSION: &str = "2026-10-21";
const BETA_HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
/// Some models take a `speed` only with it.
const FAST_BETA: &str = "fast-mode-2026-02-01";

/// A provider that speaks the Messages API.
#[derive(Debug)]
pub(crate) struct Messages {
    config: MessagesConfig,
    upstream: Upstream,
    quirks: Quirks,
}

impl Messages {
    /// Checks what the operator configured.
    pub(crate) fn new(
        provider: &str,
        config: &MessagesConfig,
        client: &reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let mut headers = vec![("anthropic-version", Secret::new(VERSION))];
        match (&config.api_key, config.auth, &config.api_key_env) {
            (Some(key), Auth::XApiKey, _) => headers.push(("x-api-key", key.clone())),
            (Some(key), Auth::Bearer, _) => {
                headers.push(("authorization", Secret::new(format!("Bearer {}", key.expose()))));
            }
            (None, _, Some(variable)) => {
                let (provider, variable) = (provider.to_owned(), variable.clone());
                return Err(ConfigError::KeyMissing { provider, variable });
            }
            (None, _, None) => {}
        }
        let parts = Parts {
            provider,
            base_url: &config.base_url,
            path: "/v1/messages",
            headers,
            more_headers: &config.headers,
            timeouts: config.timeouts,
            client,
        };
        Ok(Self { config: config.clone(), upstream: Upstream::new(parts)?, quirks: Quirks::default() })
    }

    /// Asks for a reply.
    pub(crate) async fn complete(
        &self,
        request: &Request,
        upstream_model: &str,
        model: &ModelConfig,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reply, Failure> {
        let conversation = history::filter(&request.messages, Protocol::Messages);
        let mut events = loop {
            let body = self.body(request, &conversation, upstream_model, model);
            match self.upstream.post(self.betas(request), body).await {
                Err(failure) if self.quirks.learn(upstream_model, Quirk::MESSAGES, &failure) => {}
                answered => break answered?,
            }
        };
        let mut decoder = Decoder::new(&self.upstream, progress, &request.tools);
        while let Some(event) = events.next().await? {
            if event.name == "error" {
                return Err(self.upstream.error_in_stream(&event.data));
            }
            if decoder.take(&event.data)? {
                events.renew();
            }
            if decoder.is_complete() {
                events.drain().await;
                break;
            }
        }
        decoder.finish()
    }

    fn body(
        &self,
        request: &Request,
        conversation: &[Message],
        upstream_model: &str,
        model: &ModelConfig,
    ) -> String {
        let has = |quirk| self.quirks.has(upstream_model, quirk);
        let wanted = thinking(model.thinking.unwrap_or(self.config.thinking), upstream_model);
        let settings = Settings {
            model: upstream_model,
            max_tokens: model.max_tokens.unwrap_or(self.config.max_tokens),
            thinking: wanted.filter(|_| !has(Quirk::NoThinking)),
            effort: request.effort.as_deref().filter(|_| !has(Quirk::NoEffort)),
            cache: self.config.prompt_cache,
        };
        prompt::body(request, conversation, &settings)
    }

    fn betas(&self, request: &Request) -> HeaderMap {
        let is_fast = request.speed.as_deref() == Some("fast");
        let fast =
            is_fast.then_some(FAST_BETA).filter(|beta| !self.config.betas.iter().any(|set| set == beta));
        let betas: Vec<&str> = self.config.betas.iter().map(String::as_str).chain(fast).collect();
        let value = HeaderValue::from_str(&betas.join(",")).ok().filter(|value| !value.is_empty());
        value.map(|value| (BETA_HEADER, value)).into_iter().collect()
    }
}

fn thinking(thinking: Thinking, model: &str) -> Option<&'static str> {
    match thinking {
        Thinking::Auto => catalogue::takes_adaptive_thinking(model).then_some("adaptive"),
        Thinking::Adaptive => Some("adaptive"),
        Thinking::Disabled => Some("disabled"),
        Thinking::Omitted => None,
    }
}
