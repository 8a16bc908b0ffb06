//! Ids of calls as they are sent: within the pattern, and unique over the whole request.

use std::collections::BTreeSet;

/// The ids that were given so far.
#[derive(Debug, Default)]
pub(crate) struct Ids(BTreeSet<String>);

/// Longest id and name that every provider takes.
const CHARS_MAX: usize = 64;

impl Ids {
    /// The id of the next call, which the log calls `id`. The same in every request, since the calls before are.
    pub(crate) fn of_call(&mut self, id: &str) -> String {
        let plain = plain(id);
        let mut sent = if plain.is_empty() { "call".to_owned() } else { plain.clone() };
        let mut number = 1;
        while !self.0.insert(sent.clone()) {
            number += 1;
            let end = format!("_{number}");
            sent = plain.chars().take(CHARS_MAX - end.len()).chain(end.chars()).collect();
        }
        sent
    }
}

/// A name that the pattern of every provider takes.
pub(crate) fn name(name: &str) -> String {
    let plain = plain(name);
    if plain.is_empty() { "unknown".to_owned() } else { plain }
}

fn plain(text: &str) -> String {
    let keep = |character: char| {
        if character.is_ascii_alphanumeric() || "_-".contains(character) { character } else { '_' }
    };
    text.chars().map(keep).take(CHARS_MAX).collect()
}
