//! The process's environment, read once and in this place only.

use std::collections::BTreeMap;

/// Variables that mean something to this program.
pub(crate) const KNOWN: [&str; 13] = [
    "JOURNEYMAN_ANTHROPIC_API_KEY",
    "JOURNEYMAN_ANTHROPIC_BASE_URL",
    "JOURNEYMAN_API_KEY",
    "JOURNEYMAN_BIN",
    "JOURNEYMAN_CRASH_AT",
    "JOURNEYMAN_DATA",
    "JOURNEYMAN_DATABASE",
    "JOURNEYMAN_LISTEN",
    "JOURNEYMAN_LOG",
    "JOURNEYMAN_MODEL",
    "JOURNEYMAN_OPENAI_API_KEY",
    "JOURNEYMAN_OPENAI_BASE_URL",
    "JOURNEYMAN_SCRIPT",
];

/// A copy of the environment.
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads it. Variables that are no UTF-8 are as good as not set: none of ours can be one.
    pub(crate) fn read() -> Self {
        let variables = std::env::vars_os();
        Self(
            variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// An environment for a test.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A variable; an empty one counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Variables that look like ours and are not: typing errors, most likely.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| name.starts_with("JOURNEYMAN_") && !KNOWN.contains(name))
    }
}
