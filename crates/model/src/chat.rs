//! OpenAI-compatible chat completions: vLLM, Ollama, llama.cpp and most gateways.

mod call;
mod decoder;

use api::completion::Failure;
use api::completion::Progress;
use api::completion::Reply;
use api::completion::Request;
use reqwest::header::HeaderMap;

use crate::chat_prompt;
use crate::config::ChatConfig;
use crate::config::ModelConfig;
use crate::history;
use crate::history::Protocol;
use crate::models::ConfigError;
use crate::secret::Secret;
use crate::upstream::Parts;
use crate::upstream::Upstream;

use decoder::Decoder;

/// A provider that speaks chat completions.
#[derive(Debug)]
pub(crate) struct Chat {
    config: ChatConfig,
    upstream: Upstream,
}

impl Chat {
    /// Checks what the operator configured.
    pub(crate) fn new(
        provider: &str,
        config: &ChatConfig,
        client: &reqwest::Client,
    ) -> Result<Self, ConfigError> {
        let headers = match (&config.api_key, &config.api_key_env) {
            (Some(key), _) => vec![("authorization", Secret::new(format!("Bearer {}", key.expose())))],
            (None, Some(variable)) => {
                let (provider, variable) = (provider.to_owned(), variable.clone());
                return Err(ConfigError::KeyMissing { provider, variable });
            }
            (None, None) => Vec::new(),
        };
        let parts = Parts {
            provider,
            base_url: &config.base_url,
            path: "/chat/completions",
            headers,
            more_headers: &config.headers,
            timeouts: config.timeouts,
            client,
        };
        Ok(Self { config: config.clone(), upstream: Upstream::new(parts)? })
    }

    /// Asks for a reply.
    pub(crate) async fn complete(
        &self,
        request: &Request,
        upstream_model: &str,
        model: &ModelConfig,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reply, Failure> {
        let max_tokens = model.max_tokens.or(self.config.max_tokens);
        let conversation = history::filter(&request.messages, Protocol::Chat);
        let body = chat_prompt::body(request, &conversation, upstream_model, max_tokens, &self.config);
        let mut events = self.upstream.post(HeaderMap::new(), body).await?;
        let mut decoder = Decoder::new(&self.upstream, progress, &request.tools);
        while let Some(event) = events.next().await? {
            if event.data.trim() == "[DONE]" {
                events.drain().await;
                decoder.done();
                break;
            }
            if event.name == "error" {
                return Err(self.upstream.error_in_stream(&event.data));
            }
            if decoder.take(&event.data)? {
                events.renew();
            }
        }
        decoder.finish(request.messages.len())
    }
}
