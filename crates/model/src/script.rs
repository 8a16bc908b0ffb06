//! The script of a scripted model: a TOML file that a person writes. The format is documented in
//! `docs/scripted-model.md`; this is its grammar, and the choice of the reply that a situation asks for.

use serde::Deserialize;

use crate::pattern;
use crate::situation::Situation;

/// A script that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// It is no TOML, or holds keys that do not exist.
    #[error("read a script")]
    Syntax(#[from] toml::de::Error),
    /// A rule cannot ever be played as it is written.
    #[error("read rule {rule} of a script: {problem}")]
    Rule {
        /// Counted from one.
        rule: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A whole script.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Script {
    #[serde(rename = "rule")]
    rules: Vec<Rule>,
    /// What is said when no rule applies; without it the request fails.
    otherwise: Option<Answer>,
}

/// Replies and the situation that they are for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    when: When,
    /// One reply per step of the turn.
    #[serde(rename = "reply")]
    replies: Vec<Answer>,
}

/// Conditions. All that are given must hold; texts are looked for regardless of case.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct When {
    user: Option<String>,
    system: Option<String>,
    model: Option<String>,
    turn: Option<usize>,
    step: Option<usize>,
    tool: Option<String>,
    result: Option<String>,
    is_error: Option<bool>,
}

/// One reply.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) thinking: Option<String>,
    pub(crate) text: Option<String>,
    /// Tool calls; several run in parallel.
    #[serde(rename = "call")]
    pub(crate) calls: Vec<Call>,
    /// Instead of `end_turn`, or `tool_use` when there are calls.
    pub(crate) stop_reason: Option<String>,
    /// Before anything is told.
    pub(crate) delay_ms: u64,
    /// Before each word.
    pub(crate) chunk_delay_ms: u64,
    pub(crate) fail: Option<Fail>,
}

/// A call of a tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) tool: String,
    #[serde(default)]
    pub(crate) input: toml::Table,
}

/// A planned failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    pub(crate) kind: FailKind,
    #[serde(default)]
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
    /// Words that are told first, as of a connection that breaks.
    #[serde(default)]
    pub(crate) after_chunks: usize,
    /// How often the same request fails before it is answered; always when absent.
    #[serde(default)]
    pub(crate) times: Option<u64>,
}

/// How it fails.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailKind {
    Overloaded,
    RateLimited,
    Unavailable,
    Billing,
    Rejected,
}

impl Script {
    /// Reads and checks a script.
    pub(crate) fn parse(text: &str) -> Result<Self, ScriptError> {
        let script: Self = toml::from_str(text)?;
        for (position, rule) in script.rules.iter().enumerate() {
            let problem = if rule.replies.is_empty() {
                "it has no reply"
            } else if rule.replies.len() > 1 && rule.when.names_a_step() {
                "it has several replies, which are played step by step, but its conditions hold at one step only"
            } else if rule.when.asks_for_results() && rule.when.step == Some(1) {
                "it waits for a result of a tool at the first step of a turn, where there is none"
            } else {
                continue;
            };
            return Err(ScriptError::Rule { rule: position + 1, problem });
        }
        Ok(script)
    }

    /// The reply for a situation, with a number that names it; none when nothing applies.
    pub(crate) fn choose(&self, situation: &Situation<'_>) -> Option<(usize, &Answer)> {
        let mut number = 0;
        for rule in &self.rules {
            if let Some(step) = rule.step_for(situation) {
                return Some((number + step, &rule.replies[step]));
            }
            number += rule.replies.len();
        }
        self.otherwise.as_ref().map(|answer| (number, answer))
    }
}

impl Rule {
    /// Which of the replies is due, if the rule applies.
    fn step_for(&self, situation: &Situation<'_>) -> Option<usize> {
        let step = if self.when.names_a_step() { 0 } else { situation.step - 1 };
        (step < self.replies.len() && self.when.holds(situation)).then_some(step)
    }
}

impl When {
    /// Whether the rule says by itself at which step of a turn it is played.
    fn names_a_step(&self) -> bool {
        self.step.is_some() || self.asks_for_results()
    }

    fn asks_for_results(&self) -> bool {
        self.tool.is_some() || self.result.is_some() || self.is_error.is_some()
    }

    fn holds(&self, situation: &Situation<'_>) -> bool {
        let Self { user, system, model, turn, step, tool, result, is_error } = self;
        let in_user = user.as_ref().is_none_or(|part| contains(&situation.user, part));
        let in_system = system.as_ref().is_none_or(|part| contains(situation.system, part));
        let is_model = model.as_ref().is_none_or(|pattern| pattern::matches(pattern, situation.model));
        let is_now =
            turn.is_none_or(|turn| turn == situation.turn) && step.is_none_or(|step| step == situation.step);
        // The three conditions on results hold for one and the same result.
        let has_result = || {
            situation.results.iter().any(|found| {
                tool.as_ref().is_none_or(|tool| *tool == found.tool)
                    && result.as_ref().is_none_or(|part| contains(&found.text, part))
                    && is_error.is_none_or(|is_error| is_error == found.is_error)
            })
        };
        in_user && in_system && is_model && is_now && (!self.asks_for_results() || has_result())
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}
