//! Reading a request body field by field, so that every refusal names the field: `tools.0.name: Field required`.
//!
//! A body is parsed into a JSON map once; [`Object`], [`Field`] and [`List`] are views into it that know their path. The
//! path is a chain of references on the stack and becomes text only when something is wrong. The wording follows the
//! reference API. Lengths of strings are counted in characters.

mod field;
mod metadata;

use std::fmt;

use serde_json::Map;
use serde_json::Value;

use crate::errors::Error;
use crate::limits::DEPTH_MAX;
use crate::patch::Patch;
pub use metadata::Metadata;
pub use metadata::MetadataPatch;
pub use metadata::merge_metadata;

/// Longest excerpt of a client's text in one of our messages.
const EXCERPT_CHARS_MAX: usize = 100;

/// Parses a request body into its fields.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("The request body is not valid JSON: {error}")))?;
    if is_deeper_than(&value, DEPTH_MAX) {
        return Err(Error::invalid(format!(
            "The request body is not valid JSON: nested deeper than {DEPTH_MAX} levels"
        )));
    }
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Error::invalid("The request body should be a JSON object"))
        }
    }
}

/// Where a value stands in the body: `tools.0.name`.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// The fields of a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    path: Path<'a>,
}

/// One value and its place.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The value.
    pub value: &'a Value,
    /// Where it stands.
    pub path: Path<'a>,
}

/// The items of a JSON array.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    items: &'a [Value],
    path: Path<'a>,
}

impl<'a> Path<'a> {
    /// The body itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The field `name` of the object here.
    #[must_use]
    pub fn key(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(name) }
    }

    /// The item at `index` of the array here.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// A 400 about this place.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        match self.step {
            Step::Root => Error::invalid(message.to_string()),
            Step::Key(_) | Step::Index(_) => Error::invalid(format!("{self}: {message}")),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent
            && !matches!(parent.step, Step::Root)
        {
            write!(f, "{parent}.")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(name) => f.write_str(&excerpt(name)),
            Step::Index(index) => write!(f, "{index}"),
        }
    }
}

impl<'a> Object<'a> {
    /// The fields of the whole body.
    pub fn root(fields: &'a Map<String, Value>) -> Self {
        Self { fields, path: Path::ROOT }
    }

    /// Where the object stands.
    pub fn path(&self) -> &Path<'a> {
        &self.path
    }

    /// Refuses every field that is not in `names`.
    pub fn only(&self, names: &[&str]) -> Result<(), Error> {
        match self.fields.keys().find(|key| !names.contains(&key.as_str())) {
            Some(key) => Err(self.path.key(key).error("Extra inputs are not permitted")),
            None => Ok(()),
        }
    }

    /// A field that has to be there. Null is there, and then of the wrong type.
    pub fn required<'s>(&'s self, name: &'s str) -> Result<Field<'s>, Error> {
        match self.fields.get(name) {
            Some(value) => Ok(Field { value, path: self.path.key(name) }),
            None => Err(self.path.key(name).error("Field required")),
        }
    }

    /// A field that may be missing or null.
    pub fn optional<'s>(&'s self, name: &'s str) -> Option<Field<'s>> {
        match self.patch(name) {
            Patch::Absent | Patch::Null => None,
            Patch::Value(field) => Some(field),
        }
    }

    /// A field of which missing and null mean different things.
    pub fn patch<'s>(&'s self, name: &'s str) -> Patch<Field<'s>> {
        match self.fields.get(name) {
            None => Patch::Absent,
            Some(Value::Null) => Patch::Null,
            Some(value) => Patch::Value(Field { value, path: self.path.key(name) }),
        }
    }

    /// Reads a field that has to be there.
    pub fn require<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        read(&self.required(name)?)
    }

    /// Reads a field that may be missing or null.
    pub fn opt<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.optional(name).map(|field| read(&field)).transpose()
    }

    /// The same, with the default of its type where it is missing or null.
    pub fn opt_or_default<T: Default>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.opt(name, read).map(Option::unwrap_or_default)
    }

    /// Reads a field of which missing and null mean different things.
    pub fn patched<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'_>) -> Result<T, Error>,
    ) -> Result<Patch<T>, Error> {
        self.patch(name).try_map(|field| read(&field))
    }

    /// `true` or `false`, or nothing.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.optional(name).map(|field| field.boolean()).transpose()
    }

    /// Reads a text that null and the empty string clear.
    pub fn clearable(&self, name: &str, chars_max: usize) -> Result<Patch<String>, Error> {
        Ok(match self.patched(name, |field| field.string(0, chars_max))? {
            Patch::Value(text) if text.is_empty() => Patch::Null,
            text @ (Patch::Value(_) | Patch::Null | Patch::Absent) => text,
        })
    }

    /// Reads a field that may be left out but not cleared.
    pub fn uncleared<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Field<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.patch(name) {
            Patch::Null => Err(self.path.key(name).error("Cannot be cleared; leave it out to keep it")),
            Patch::Absent | Patch::Value(_) => self.opt(name, read),
        }
    }

    /// Every field with its name.
    pub fn each(&self) -> impl Iterator<Item = (&str, Field<'_>)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), Field { value, path: self.path.key(name) }))
    }

    /// The field `type`, which has to be one of `tags`.
    pub fn tag(&self, tags: &[&'static str]) -> Result<&'static str, Error> {
        let field = self.required("type")?;
        let text = field.text()?;
        tags.iter().find(|tag| **tag == text).copied().ok_or_else(|| {
            self.path.error(format_args!(
                "Input tag '{}' found using 'type' does not match any of the expected tags: {}",
                excerpt(text),
                quoted(tags, ", ")
            ))
        })
    }
}

/// At most the first hundred characters of a client's text, for a message.
pub fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut excerpt: String =
        chars.by_ref().take(EXCERPT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if chars.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// `'a', 'b' or 'c'`, as the reference API lists what it takes.
pub fn alternatives(choices: &[&str]) -> String {
    match choices {
        [] => String::new(),
        [only] => format!("'{only}'"),
        [first @ .., last] => format!("{} or '{last}'", quoted(first, ", ")),
    }
}

fn quoted(choices: &[&str], separator: &str) -> String {
    choices.iter().map(|choice| format!("'{choice}'")).collect::<Vec<_>>().join(separator)
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|item| is_deeper_than(item, levels - 1)),
    }
}
