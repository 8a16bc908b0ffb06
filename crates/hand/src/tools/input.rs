//! Fields of a tool's input. An error names the tool and the field; `null` counts as absent, unknown fields as noise.

use serde_json::Map;
use serde_json::Value;

/// The input of one call.
pub(crate) struct Input<'a> {
    tool: &'a str,
    fields: Map<String, Value>,
}

impl<'a> Input<'a> {
    /// Reads the JSON object.
    pub(crate) fn parse(tool: &'a str, json: &str) -> Result<Self, String> {
        match serde_json::from_str(json) {
            Ok(Value::Object(fields)) => Ok(Self { tool, fields }),
            Ok(_) => Err(format!("{tool}: the input must be an object")),
            Err(error) => Err(format!("{tool}: the input is not valid JSON: {error}")),
        }
    }

    /// A text that must be there.
    pub(crate) fn text(&mut self, name: &str) -> Result<String, String> {
        self.optional_text(name)?.ok_or_else(|| self.complain(name, "is required"))
    }

    /// A text that must be there and not be empty.
    pub(crate) fn filled_text(&mut self, name: &str) -> Result<String, String> {
        match self.text(name)? {
            text if text.is_empty() => Err(self.complain(name, "is required")),
            text => Ok(text),
        }
    }

    /// A text.
    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.complain(name, "must be a string")),
        }
    }

    /// Yes or no; absent is no.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.complain(name, "must be a boolean")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn optional_count(&mut self, name: &str) -> Result<Option<u64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.complain(name, "must be an integer of at least 0")),
            },
        }
    }

    /// `[first, last]`; an empty list counts as absent.
    pub(crate) fn optional_range(&mut self, name: &str) -> Result<Option<(i64, i64)>, String> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.complain(name, "must be [start_line, end_line]")),
        };
        match items.as_slice() {
            [] => Ok(None),
            [first, last] => match (first.as_i64(), last.as_i64()) {
                (Some(first), Some(last)) => Ok(Some((first, last))),
                (None, _) | (_, None) => Err(self.complain(name, "must be [start_line, end_line]")),
            },
            [..] => Err(self.complain(name, "must be [start_line, end_line]")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn complain(&self, name: &str, complaint: &str) -> String {
        format!("{}: {name} {complaint}", self.tool)
    }
}
