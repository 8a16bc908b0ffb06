//! Model providers: a request of the brain goes in, a reply of raw blocks comes out, with progress on the way.
//!
//! Three kinds of provider: the Messages API (byte-faithful), OpenAI-compatible chat completions, and the scripted
//! model, which plays a file. Model ids are routed to providers by pattern. Nothing is retried here: a
//! [`Failure`](api::completion::Failure) says whether asking again may help, and the brain decides.

mod block;
mod catalogue;
mod chat;
mod chat_prompt;
mod config;
mod counts;
mod ending;
mod events;
mod failure;
mod history;
mod input;
mod limits;
mod messages;
mod models;
mod pattern;
mod prices;
mod prompt;
mod quirks;
mod raw;
mod script;
mod scripted;
mod secret;
mod situation;
mod sse;
pub mod telemetry;
mod timeouts;
mod tools;
mod upstream;

pub use catalogue::ModelInfo;
pub use config::Auth;
pub use config::ChatConfig;
pub use config::Config;
pub use config::MaxTokensField;
pub use config::MessagesConfig;
pub use config::ModelConfig;
pub use config::PromptCache;
pub use config::ProviderConfig;
pub use config::Route;
pub use config::ScriptedConfig;
pub use config::SendReasoning;
pub use config::Thinking;
pub use models::ConfigError;
pub use models::Models;
pub use prices::Price;
pub use prices::Prices;
pub use script::ScriptError;
pub use secret::Secret;
pub use timeouts::Timeouts;
