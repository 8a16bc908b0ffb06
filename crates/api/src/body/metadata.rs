//! Metadata: the client's own notes on an object, text by text.

use serde_json::Map;
use serde_json::Value;

use super::Field;
use super::Object;
use super::Path;
use crate::errors::Error;
use crate::limits::METADATA_KEY_CHARS_MAX;
use crate::limits::METADATA_PAIRS_MAX;
use crate::limits::METADATA_VALUE_CHARS_MAX;

/// Metadata of an object: at most sixteen pairs, every value a string.
pub type Metadata = Map<String, Value>;

/// Changes to metadata, key by key: a value sets the key, `None` deletes it.
pub type MetadataPatch = Vec<(String, Option<String>)>;

impl Object<'_> {
    /// Metadata of a new object, in the field `metadata`.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        self.optional("metadata").map_or_else(|| Ok(Metadata::new()), |field| field.metadata())
    }
}

impl Field<'_> {
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
