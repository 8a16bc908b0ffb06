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

    /// Yes or no; absent is no. Words and numbers that mean one of them count.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(false),
            Some(value) => flag(&value).ok_or_else(|| self.complain(name, "must be a boolean")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn optional_count(&mut self, name: &str) -> Result<Option<u64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match integer(&value).and_then(|count| u64::try_from(count).ok()) {
                Some(count) => Ok(Some(count)),
                None => Err(self.complain(name, "must be an integer of at least 0")),
            },
        }
    }

    /// `[first, last]`; an empty list counts as absent.
    pub(crate) fn optional_range(&mut self, name: &str) -> Result<Option<(i64, i64)>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let items = value.as_array().map(|items| items.iter().map(integer).collect::<Option<Vec<_>>>());
        match items.flatten().as_deref() {
            Some([]) => Ok(None),
            Some([first, last]) => Ok(Some((*first, *last))),
            Some([..]) | None => Err(self.complain(name, "must be [start_line, end_line]")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn complain(&self, name: &str, complaint: &str) -> String {
        format!("{}: {name} {complaint}", self.tool)
    }
}

/// A whole number, also one that a model wrote as a text or with a fraction of zero, as the official toolset reads it.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The integer that a number is, when it is one; all of them are exact up to 2^53.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the bound and the missing fraction are checked")]
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

/// A boolean, also one that a model wrote as a text or a number, as the official toolset reads it.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(_) => match integer(value)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
