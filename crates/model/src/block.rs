//! A content block while it is being streamed: the text it started with, and what deltas added to it.
//!
//! Nothing is interpreted beyond what the known deltas say, so that blocks and fields of the future come through.
//! Strings are joined as their JSON text: escapes stay as the provider wrote them, and a character whose two halves
//! come in two deltas is whole again.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::input;
use crate::raw;
use crate::raw::Fields;
use crate::tools::Tools;

/// A block that is not complete yet.
#[derive(Debug)]
pub(crate) struct Block {
    /// The block's `type`.
    pub(crate) kind: String,
    /// The text of the block's start, which is the whole block as long as no delta came.
    start: String,
    fields: Vec<(String, String)>,
    is_changed: bool,
    /// The text of the tool input as a JSON string, when deltas brought one.
    input: Option<String>,
    /// Text that is not told yet: it ends within a character.
    held: String,
}

impl Block {
    /// Begins a block; `None` when `start` is no object with a `type`.
    pub(crate) fn start(start: &RawValue) -> Option<Self> {
        let fields = Fields::of(start)?;
        let kind = fields.string("type")?.into_owned();
        let fields =
            fields.0.iter().map(|(name, value)| (name.to_string(), value.get().to_owned())).collect();
        let start = start.get().to_owned();
        Some(Self { kind, start, fields, is_changed: false, input: None, held: String::new() })
    }

    /// Takes a delta. Gives back the text that it adds to a `text` block.
    pub(crate) fn apply(&mut self, delta: &Fields<'_>) -> Option<String> {
        let kind = delta.string("type").unwrap_or(Cow::Borrowed(""));
        let members = delta.0.iter().filter(|(name, _)| name != "type");
        match kind.as_ref() {
            "text_delta" => {
                let text = delta.get("text")?.get();
                self.append("text", text);
                return self.tell(text);
            }
            "thinking_delta" => self.append("thinking", delta.get("thinking")?.get()),
            "input_json_delta" => {
                let input = self.input.get_or_insert_with(|| "\"\"".to_owned());
                raw::join_strings(input, delta.get("partial_json")?.get());
            }
            "citations_delta" => {
                let citation = delta.get("citation")?.get();
                let mut citations = self.value("citations").unwrap_or_default().to_owned();
                raw::push_element(&mut citations, citation);
                self.set("citations", citations);
            }
            // These carry the whole value.
            "signature_delta" | "compaction_delta" => {
                members.for_each(|(name, value)| self.set(name, value.get().to_owned()));
            }
            // A delta of the future: strings and lists grow, anything else is replaced.
            _ => members.for_each(|(name, value)| self.grow(name, value.get())),
        }
        None
    }

    /// The text that the block began with, when it is a `text` block.
    pub(crate) fn first_text(&self) -> Option<String> {
        let text = raw::decode(self.value("text")?)?;
        (self.kind == "text" && !text.is_empty()).then(|| text.into_owned())
    }

    /// Whether a delta of this type adds to a block of this kind. Deltas of the future fit anywhere.
    pub(crate) fn fits(&self, delta: &str) -> bool {
        match delta {
            "text_delta" | "citations_delta" => self.kind == "text",
            "thinking_delta" | "signature_delta" => self.kind == "thinking",
            // Calls of the provider's own tools have other names.
            "input_json_delta" => self.value("input").is_some() || self.kind.ends_with("tool_use"),
            _ => true,
        }
    }

    /// The empty block that a delta without one belongs to; `None` when its name and id could only be guessed.
    pub(crate) fn of_delta(delta: &str) -> Option<Self> {
        let start = match delta {
            "text_delta" => r#"{"type":"text","text":""}"#,
            "thinking_delta" | "signature_delta" => r#"{"type":"thinking","thinking":"","signature":""}"#,
            _ => return None,
        };
        Self::start(&raw::block(start.to_owned())?)
    }

    /// Whether nothing was added since the block began.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.is_changed && self.input.is_none() && self.held.is_empty()
    }

    /// Whether it begins as `other` did.
    pub(crate) fn starts_like(&self, other: &Self) -> bool {
        self.start == other.start
    }

    /// Whether it is a text that says nothing.
    pub(crate) fn is_blank(&self) -> bool {
        let text = self.value("text").and_then(raw::decode);
        self.kind == "text" && text.is_none_or(|text| text.trim().is_empty())
    }

    /// The complete block. A tool input that is no JSON object becomes a JSON string of what the model wrote, so that
    /// whoever refuses the call can say what is wrong with it. `None` when the block cannot be written at all.
    pub(crate) fn finish(mut self, tools: &Tools) -> Option<Box<RawValue>> {
        let name = self.value("name").filter(|_| self.kind == "tool_use").and_then(raw::decode);
        if let Some(name) = name.as_deref().filter(|name| tools.meant(name) != *name) {
            let name = raw::quote(tools.meant(name));
            self.set("name", name);
        }
        // Some gateways send the whole input at once, as a text.
        let at_once = self.value("input").filter(|input| input.starts_with('"')).map(str::to_owned);
        if let Some(written) = self.input.take().or(at_once) {
            let text = raw::decode(&written)?;
            match input::object(&text) {
                Some(object) => self.set("input", object),
                None if text.trim().is_empty()
                    && self.value("input").is_some_and(|input| input.starts_with('{')) => {}
                None if text.trim().is_empty() => self.set("input", "{}".to_owned()),
                None => self.set("input", raw::quote(&text)),
            }
        }
        // Readers take half of a character for no text at all, and would miss the whole block.
        let is_broken = |value: &str| value.starts_with('"') && !raw::is_proper_string(value);
        if !self.is_changed && !self.fields.iter().any(|(_, value)| is_broken(value)) {
            return raw::block(self.start);
        }
        let mut text = String::from("{");
        for (name, value) in &self.fields {
            if text.len() > 1 {
                text.push(',');
            }
            raw::push_quoted(&mut text, name);
            text.push(':');
            if is_broken(value) {
                raw::push_quoted(&mut text, &raw::decode(value).unwrap_or_default());
            } else {
                text.push_str(value);
            }
        }
        text.push('}');
        raw::block(text)
    }

    /// What can be told of the held text and `text`; a trailing half of a character is held until the next time.
    fn tell(&mut self, text: &str) -> Option<String> {
        let is_second_try = !self.held.is_empty();
        if !is_second_try {
            "\"\"".clone_into(&mut self.held);
        }
        raw::join_strings(&mut self.held, text);
        if !raw::is_proper_string(&self.held) && !is_second_try {
            return None;
        }
        let held = std::mem::take(&mut self.held);
        let told = raw::decode(&held)?.into_owned();
        (!told.is_empty() && self.kind == "text").then_some(told)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        self.is_changed = true;
        match self.fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, slot)) => *slot = value,
            None => self.fields.push((name.to_owned(), value)),
        }
    }

    fn append(&mut self, name: &str, text: &str) {
        self.is_changed = true;
        let slot = self.fields.iter_mut().find(|(field, _)| field == name);
        let joined = slot.is_some_and(|(_, value)| raw::join_strings(value, text));
        if !joined && text.starts_with('"') {
            self.set(name, text.to_owned());
        }
    }

    fn grow(&mut self, name: &str, value: &str) {
        let before = self.value(name).unwrap_or_default();
        if value.starts_with('"') && before.starts_with('"') {
            self.append(name, value);
        } else if value.starts_with('[') && before.starts_with('[') {
            let inner = value[1..value.len() - 1].trim();
            let mut array = before.to_owned();
            if !inner.is_empty() {
                raw::push_element(&mut array, inner);
            }
            self.set(name, array);
        } else {
            self.set(name, value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(start: &str, deltas: &[&str]) -> String {
        let start = RawValue::from_string(start.to_owned()).unwrap();
        let mut block = Block::start(&start).unwrap();
        for delta in deltas {
            block.apply(&serde_json::from_str(delta).unwrap());
        }
        block.finish(&Tools::of(&[])).unwrap().get().to_owned()
    }

    #[test]
    fn a_block_without_deltas_keeps_every_byte() {
        let start = r#"{"type" : "nonsense_2031","n":1.0e5, "s":"\u00fc"}"#;
        assert_eq!(assemble(start, &[]), start);
    }

    #[test]
    fn half_of_a_character_is_replaced_also_where_no_delta_came() {
        let block = assemble(r#"{"type":"text","text":"a\ud83e"}"#, &[]);
        assert_eq!(block, "{\"type\":\"text\",\"text\":\"a\u{fffd}\u{fffd}\u{fffd}\"}");
    }

    #[test]
    fn text_and_citations_grow_and_unknown_fields_stay() {
        let block = assemble(
            r#"{"type":"text","text":"","citations":null,"x":1.50}"#,
            &[
                r#"{"type":"text_delta","text":"a\u00e9"}"#,
                r#"{"type":"citations_delta","citation":{"n": 1}}"#,
                r#"{"type":"text_delta","text":"\n\""}"#,
                r#"{"type":"citations_delta","citation":{"n":2}}"#,
            ],
        );
        assert_eq!(block, r#"{"type":"text","text":"a\u00e9\n\"","citations":[{"n": 1},{"n":2}],"x":1.50}"#);
    }

    #[test]
    fn deltas_of_the_future_are_kept_as_well_as_can_be() {
        let block = assemble(
            r#"{"type":"new","log":"a","list":[1],"state":null}"#,
            &[r#"{"type":"new_delta","log":"b","list":[2, 3],"state":{"k":1},"more":true}"#],
        );
        assert_eq!(block, r#"{"type":"new","log":"ab","list":[1,2, 3],"state":{"k":1},"more":true}"#);
    }

    #[test]
    fn a_tool_input_is_kept_verbatim_and_a_broken_one_as_a_text() {
        let start = r#"{"type":"tool_use","id":"t","name":"bash","input":{}}"#;
        let delta = |json: &str| format!(r#"{{"type":"input_json_delta","partial_json":{json}}}"#);
        let half = delta(r#""{\"a\" : 1.0,\n \"b\":\"\\u00""#);
        let rest = delta(r#""e9\"}""#);
        let whole = r#"{"type":"tool_use","id":"t","name":"bash","input":{"a" : 1.0,  "b":"\u00e9"}}"#;
        assert_eq!(assemble(start, &[&half, &rest]), whole);
        let broken = r#"{"type":"tool_use","id":"t","name":"bash","input":"{\"a\" : 1.0,\n \"b\":\"\\u00"}"#;
        assert_eq!(assemble(start, &[&half]), broken);
        assert_eq!(assemble(start, &[&delta(r#""""#)]), start);
        let object = r#"{"type":"tool_use","id":"t","name":"bash","input":{"a":1}}"#;
        for written in [r#""\"{\\\"a\\\":1}\"""#, r#""```json\n{\"a\":1}\n```""#] {
            assert_eq!(assemble(start, &[&delta(written)]), object, "{written}");
        }
        let at_once = r#"{"type":"tool_use","id":"t","name":"bash","input":"{\"a\":1}"}"#;
        assert_eq!(assemble(at_once, &[]), object);
    }

    #[test]
    fn a_character_in_two_halves_is_told_whole() {
        let start = RawValue::from_string(r#"{"type":"text","text":""}"#.to_owned()).unwrap();
        let mut block = Block::start(&start).unwrap();
        let mut apply = |delta: &str| block.apply(&serde_json::from_str(delta).unwrap());
        assert_eq!(apply(r#"{"type":"text_delta","text":"a\ud83e"}"#), None);
        assert_eq!(apply(r#"{"type":"text_delta","text":"\udd80"}"#).as_deref(), Some("a🦀"));
        assert_eq!(apply(r#"{"type":"text_delta","text":"\ud83e"}"#), None);
        let block = block.finish(&Tools::of(&[])).unwrap();
        assert_eq!(block.get(), "{\"type\":\"text\",\"text\":\"a🦀\u{fffd}\u{fffd}\u{fffd}\"}");
    }
}
