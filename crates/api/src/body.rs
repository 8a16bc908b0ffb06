//! Reading a request body field by field, so that every refusal names the field: `tools.0.name: Field required`.
//!
//! A body is parsed into a JSON map once; [`Object`], [`Field`] and [`List`] are views into it that know their path. The
//! path is a chain of references on the stack and becomes text only when something is wrong. The wording follows the
//! reference API. Lengths of strings are counted in characters.

use std::fmt;

use serde_json::Map;
use serde_json::Value;

use crate::errors::Error;
use crate::limits::DEPTH_MAX;
use crate::limits::METADATA_KEY_CHARS_MAX;
use crate::limits::METADATA_PAIRS_MAX;
use crate::limits::METADATA_VALUE_CHARS_MAX;
use crate::patch::Patch;

/// Metadata of an object: at most sixteen pairs, every value a string.
pub type Metadata = Map<String, Value>;

/// Changes to metadata, key by key: a value sets the key, `None` deletes it.
pub type MetadataPatch = Vec<(String, Option<String>)>;

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

    /// Metadata of a new object, in the field `metadata`.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        self.optional("metadata").map_or_else(|| Ok(Metadata::new()), |field| field.metadata())
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

impl<'a> Field<'a> {
    /// A 400 about this field.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        self.path.error(message)
    }

    /// A string of any length.
    pub fn text(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.error("Input should be a valid string"))
    }

    /// A string of `min` to `max` characters without NUL, which no database keeps in a text.
    pub fn text_within(&self, min: usize, max: usize) -> Result<&'a str, Error> {
        let text = self.text()?;
        // A text has at most as many characters as bytes, so that a short one need not be counted.
        if text.len() > max && text.chars().count() > max {
            return Err(
                self.error(format_args!("String should have at most {max} {}", plural(max, "character")))
            );
        }
        if text.len() < min || (min > 1 && text.chars().count() < min) {
            return Err(
                self.error(format_args!("String should have at least {min} {}", plural(min, "character")))
            );
        }
        if text.contains('\0') {
            return Err(self.error("Null characters are not permitted"));
        }
        Ok(text)
    }

    /// The same as an owned string.
    pub fn string(&self, min: usize, max: usize) -> Result<String, Error> {
        self.text_within(min, max).map(str::to_owned)
    }

    /// One of `choices`.
    pub fn choice(&self, choices: &[&'static str]) -> Result<&'static str, Error> {
        let text = self.value.as_str();
        choices
            .iter()
            .find(|choice| Some(**choice) == text)
            .copied()
            .ok_or_else(|| self.error(format_args!("Input should be {}", alternatives(choices))))
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.error("Input should be a valid boolean"))
    }

    /// A whole number from `min` to `max`.
    pub fn integer(&self, min: i64, max: i64) -> Result<i64, Error> {
        let number = self.value.as_i64().ok_or_else(|| self.error("Input should be a valid integer"))?;
        if number < min {
            return Err(self.error(format_args!("Input should be greater than or equal to {min}")));
        }
        if number > max {
            return Err(self.error(format_args!("Input should be less than or equal to {max}")));
        }
        Ok(number)
    }

    /// An object.
    pub fn object(&self) -> Result<Object<'a>, Error> {
        match self.value.as_object() {
            Some(fields) => Ok(Object { fields, path: self.path }),
            None => Err(self.error("Input should be a valid dictionary")),
        }
    }

    /// An object that has no other fields than these.
    pub fn object_of(&self, names: &[&str]) -> Result<Object<'a>, Error> {
        let object = self.object()?;
        object.only(names)?;
        Ok(object)
    }

    /// An object whose `type` is one of these tags, and that has no other fields than those of its tag.
    pub fn tagged(&self, tags: &[(&'static str, &[&str])]) -> Result<(&'static str, Object<'a>), Error> {
        let object = self.object()?;
        let names: Vec<&'static str> = tags.iter().map(|(tag, _)| *tag).collect();
        let tag = object.tag(&names)?;
        let fields = tags.iter().filter(|(name, _)| *name == tag).flat_map(|(_, fields)| fields.iter());
        let fields: Vec<&str> = std::iter::once(&"type").chain(fields).copied().collect();
        object.only(&fields)?;
        Ok((tag, object))
    }

    /// An array of `min` to `max` items, each read by `read`.
    pub fn items<T>(
        &self,
        min: usize,
        max: usize,
        read: impl FnMut(Field<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.list(min, max)?.each().map(read).collect()
    }

    /// An array of `min` to `max` items.
    pub fn list(&self, min: usize, max: usize) -> Result<List<'a>, Error> {
        let items = self.value.as_array().ok_or_else(|| self.error("Input should be a valid list"))?;
        let count = items.len();
        if count < min {
            let items = plural(min, "item");
            return Err(self.error(format_args!(
                "List should have at least {min} {items} after validation, not {count}"
            )));
        }
        if count > max {
            let items = plural(max, "item");
            return Err(self.error(format_args!(
                "List should have at most {max} {items} after validation, not {count}"
            )));
        }
        Ok(List { items, path: self.path })
    }

    /// An array of strings, each of 1 to `chars_max` characters.
    pub fn texts(&self, min: usize, max: usize, chars_max: usize) -> Result<Vec<String>, Error> {
        self.items(min, max, |item| item.string(1, chars_max))
    }

    /// Metadata as given when an object is created.
    fn metadata(&self) -> Result<Metadata, Error> {
        let object = self.object()?;
        for (key, value) in object.each() {
            metadata_key(&value, key)?;
            metadata_value(&value)?;
        }
        check_pair_count(self.path, object.fields)?;
        Ok(object.fields.clone())
    }

    /// Changes to metadata. Null deletes a key; so does the empty string where `empty_deletes`.
    pub fn metadata_patch(&self, empty_deletes: bool) -> Result<MetadataPatch, Error> {
        let object = self.object()?;
        let mut patch = MetadataPatch::new();
        for (key, value) in object.each() {
            metadata_key(&value, key)?;
            let is_deleted = value.value.is_null() || (empty_deletes && value.value.as_str() == Some(""));
            let text = if is_deleted { None } else { Some(metadata_value(&value)?.to_owned()) };
            patch.push((key.to_owned(), text));
        }
        Ok(patch)
    }
}

impl<'a> List<'a> {
    /// Every item in order.
    pub fn each(&self) -> impl Iterator<Item = Field<'_>> {
        self.items.iter().enumerate().map(|(index, value)| Field { value, path: self.path.index(index) })
    }

    /// How many items there are.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Where the list stands.
    pub fn path(&self) -> &Path<'a> {
        &self.path
    }
}

/// Metadata after changes; refused when too many pairs would be left.
pub fn merge_metadata(stored: &Metadata, patch: &MetadataPatch) -> Result<Metadata, Error> {
    let mut merged = stored.clone();
    for (key, value) in patch {
        match value {
            Some(text) => merged.insert(key.clone(), Value::String(text.clone())),
            None => merged.shift_remove(key),
        };
    }
    check_pair_count(Path::ROOT.key("metadata"), &merged)?;
    Ok(merged)
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

fn metadata_key(value: &Field<'_>, key: &str) -> Result<(), Error> {
    let count = key.chars().count();
    if count == 0 || count > METADATA_KEY_CHARS_MAX || key.contains('\0') {
        let message = format_args!("Metadata keys should have 1 to {METADATA_KEY_CHARS_MAX} characters");
        return Err(value.error(message).with_code("invalid_metadata"));
    }
    Ok(())
}

fn metadata_value<'a>(value: &Field<'a>) -> Result<&'a str, Error> {
    value.text_within(0, METADATA_VALUE_CHARS_MAX).map_err(|error| error.with_code("invalid_metadata"))
}

fn check_pair_count(path: Path<'_>, metadata: &Metadata) -> Result<(), Error> {
    let count = metadata.len();
    if count > METADATA_PAIRS_MAX {
        let message = format_args!("Metadata should have at most {METADATA_PAIRS_MAX} pairs, not {count}");
        return Err(path.error(message).with_code("invalid_metadata"));
    }
    Ok(())
}

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|item| is_deeper_than(item, levels - 1)),
    }
}
