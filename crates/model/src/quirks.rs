//! What providers were found not to take. A request that is refused for an optional field is sent once more without it,
//! and later requests of that model spare the field.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use api::completion::Failure;
use api::completion::FailureKind;

use crate::limits::QUIRKS_MAX;

/// A way in which a provider differs from its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quirk {
    /// It takes no `stream_options`.
    NoStreamOptions,
    /// It takes no effort.
    NoEffort,
    /// It takes nothing about thinking.
    NoThinking,
    /// It wants `max_completion_tokens` instead of `max_tokens`.
    MaxCompletionTokens,
    /// It wants the reasoning of every message back.
    AllReasoning,
    /// It takes no reasoning back.
    NoReasoning,
}

impl Quirk {
    /// Those of the Messages API.
    pub(crate) const MESSAGES: &[Self] = &[Self::NoEffort, Self::NoThinking];
    /// Those of chat completions. What is told apart by more words comes first.
    pub(crate) const CHAT: &[Self] = &[
        Self::NoStreamOptions,
        Self::MaxCompletionTokens,
        Self::NoEffort,
        Self::AllReasoning,
        Self::NoReasoning,
    ];

    /// Whether a refusal in these words, in lower case, is for it.
    fn is_named_in(self, refusal: &str) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| refusal.contains(word));
        match self {
            Self::NoStreamOptions => has(&["stream_options"]),
            Self::NoEffort => has(&["effort", "output_config"]),
            Self::NoThinking => has(&["thinking"]) && !has(&["signature", "block", "budget"]),
            Self::MaxCompletionTokens => has(&["max_completion_tokens"]),
            Self::AllReasoning => has(&["reasoning"]) && has(&["must be", "required", "missing"]),
            Self::NoReasoning => {
                has(&["reasoning"])
                    && has(&[
                        "not permitted",
                        "unexpected",
                        "unknown",
                        "unrecognized",
                        "unsupported",
                        "not supported",
                    ])
            }
        }
    }
}

/// The quirks that were met, for each model of a provider.
#[derive(Debug, Default)]
pub(crate) struct Quirks(Mutex<BTreeSet<(String, Quirk)>>);

impl Quirks {
    /// Whether the model has it.
    pub(crate) fn has(&self, model: &str, quirk: Quirk) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(model.to_owned(), quirk))
    }

    /// Learns from a refusal. True when there is something new, so that the request may be sent again without it.
    pub(crate) fn learn(&self, model: &str, quirks: &[Quirk], failure: &Failure) -> bool {
        if failure.kind != FailureKind::Rejected {
            return false;
        }
        let refusal = failure.message.to_lowercase();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new =
            |quirk: &&Quirk| quirk.is_named_in(&refusal) && !known.contains(&(model.to_owned(), **quirk));
        let Some(quirk) = quirks.iter().find(is_new).copied() else { return false };
        // Two ways to treat reasoning exclude each other, so the second refusal is final.
        let has_reasoning =
            [Quirk::AllReasoning, Quirk::NoReasoning].map(|quirk| known.contains(&(model.to_owned(), quirk)));
        let contradicts =
            matches!(quirk, Quirk::AllReasoning | Quirk::NoReasoning) && has_reasoning.contains(&true);
        if contradicts || known.len() == QUIRKS_MAX {
            return false;
        }
        tracing::info!(model.id = %model, "model {model} was refused a field and is asked without it: {quirk:?}");
        known.insert((model.to_owned(), quirk))
    }
}
