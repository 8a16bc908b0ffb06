//! Values of a body: each reader takes one kind of value, and refuses every other with the value's place.

use std::fmt;

use super::Field;
use super::List;
use super::Object;
use super::Path;
use super::alternatives;
use super::plural;
use crate::errors::Error;

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
}

impl<'a> List<'a> {
    /// Every item in order.
    pub fn each(&self) -> impl Iterator<Item = Field<'_>> {
        self.items.iter().enumerate().map(|(index, value)| Field { value, path: self.path.index(index) })
    }

    /// Number of items.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Where the list stands.
    pub fn path(&self) -> &Path<'a> {
        &self.path
    }
}
