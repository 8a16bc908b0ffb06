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
use crate::config::MaxTokensField;
use crate::config::ModelConfig;
use crate::config::SendReasoning;
use crate::history;
use crate::history::Protocol;
use crate::models::ConfigError;
use crate::quirks::Quirk;
use crate::quirks::Quirks;
use crate::secret::Secret;
use crate::upstream::Parts;
use crate::upstream::Upstream;

use decoder::Decoder;

/// A provider that speaks chat completions.
#[derive(Debug)]
pub(crate) struct Chat {
    config: ChatConfig,
    upstream: Upstream,
    quirks: Quirks,
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
        let max_tokens = model.max_tokens.or(self.config.max_tokens);
        let conversation = history::filter(&request.messages, Protocol::Chat);
        let mut events = loop {
            let config = self.learned_config(upstream_model);
            let body = chat_prompt::body(request, &conversation, upstream_model, max_tokens, &config);
            match self.upstream.post(HeaderMap::new(), body).await {
                Err(failure) if self.quirks.learn(upstream_model, Quirk::CHAT, &failure) => {}
                answered => break answered?,
            }
        };
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

    /// The configuration, but for what the model was found not to take.
    fn learned_config(&self, model: &str) -> ChatConfig {
        let mut config = self.config.clone();
        for quirk in Quirk::CHAT.iter().filter(|quirk| self.quirks.has(model, **quirk)) {
            match quirk {
                Quirk::NoStreamOptions => config.stream_options = false,
                Quirk::NoEffort => config.send_effort = false,
                Quirk::MaxCompletionTokens => config.max_tokens_field = MaxTokensField::MaxCompletionTokens,
                Quirk::AllReasoning => config.send_reasoning = SendReasoning::Always,
                Quirk::NoReasoning => config.send_reasoning = SendReasoning::Never,
                Quirk::NoThinking => {}
            }
        }
        config
    }
}
