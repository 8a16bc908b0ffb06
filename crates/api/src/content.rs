//! Content blocks that a client sends: text, images, documents and search results.
//!
//! A block that a model would refuse must not get into a session's history, where it would make every later request
//! fail. So blocks are checked as strictly as the models' own API does.

use crate::body::Field;
use crate::body::List;
use crate::body::Object;
use crate::errors::Error;
use crate::limits::CONTENT_URL_CHARS_MAX;
use crate::limits::DESCRIPTION_CHARS_MAX;
use crate::limits::NAME_CHARS_MAX;
use crate::unbuilt;

/// Where content stands, which decides what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a `user.message`.
    Message,
    /// In the result of a tool.
    Result,
}

const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Checks the shapes of blocks; says how many documents come from files.
pub(crate) fn check(list: &List<'_>, place: Place) -> Result<usize, Error> {
    let mut file_documents = 0;
    for item in list.each() {
        let object = item.object()?;
        if object.optional("type").is_some_and(|tag| tag.value == "redacted") {
            return Err(item.error("`redacted` blocks are not permitted in client events"));
        }
        let tags: &[&'static str] = match place {
            Place::Message => &["text", "image", "document"],
            Place::Result => &["text", "image", "document", "search_result"],
        };
        match object.tag(tags)? {
            "text" => check_text(&object, place)?,
            "image" => check_image(&object)?,
            "document" => file_documents += usize::from(check_document(&object)?),
            _ => check_search_result(&object)?,
        }
    }
    Ok(file_documents)
}

/// Refuses blocks whose data is a file of ours. The shapes were checked before.
pub(crate) fn refuse_files(list: &List<'_>) -> Result<(), Error> {
    for item in list.each() {
        let object = item.object()?;
        let Some(source) = object.optional("source") else {
            continue;
        };
        if source.value["type"] == "file" {
            return Err(unbuilt::refuse(&source.path, "A source of type 'file'"));
        }
    }
    Ok(())
}

fn check_text(object: &Object<'_>, place: Place) -> Result<(), Error> {
    object.only(&["type", "text"])?;
    let field = object.required("text")?;
    if place == Place::Message && field.text()?.trim().is_empty() {
        return Err(field.error("Text content blocks must contain non-whitespace text"));
    }
    field.text().map(|_| ())
}

fn check_image(object: &Object<'_>) -> Result<(), Error> {
    object.only(&["type", "source"])?;
    object.require("source", |source| {
        let (tag, source) = source.tagged(&[
            ("base64", &["media_type", "data"]),
            ("url", &["url"]),
            ("file", &["file_id"]),
        ])?;
        if tag == "base64" {
            source.require("media_type", |media| media.choice(&IMAGE_TYPES))?;
            return source.require("data", check_base64);
        }
        check_reference(tag, &source)
    })
}

/// Checks a document; says whether it comes from a file.
fn check_document(object: &Object<'_>) -> Result<bool, Error> {
    object.only(&["type", "source", "title", "context"])?;
    for name in ["title", "context"] {
        object.opt(name, |text| text.text().map(|_| ()))?;
    }
    object.require("source", |source| {
        let data: &[&str] = &["media_type", "data"];
        let (tag, source) =
            source.tagged(&[("base64", data), ("text", data), ("url", &["url"]), ("file", &["file_id"])])?;
        match tag {
            "base64" => {
                source.require("media_type", |media| media.choice(&["application/pdf"]))?;
                source.require("data", check_base64)?;
            }
            "text" => {
                source.require("media_type", |media| media.choice(&["text/plain"]))?;
                source.require("data", |data| match data.text()? {
                    "" => Err(data.error("String should have at least 1 character")),
                    _ => Ok(()),
                })?;
            }
            _ => check_reference(tag, &source)?,
        }
        Ok(tag == "file")
    })
}

fn check_search_result(object: &Object<'_>) -> Result<(), Error> {
    object.only(&["type", "source", "title", "content", "citations"])?;
    object.required("source")?.text_within(1, CONTENT_URL_CHARS_MAX)?;
    object.required("title")?.text_within(1, DESCRIPTION_CHARS_MAX)?;
    object.require("citations", |citations| {
        citations.object_of(&["enabled"])?.required("enabled")?.boolean().map(|_| ())
    })?;
    let content = object.required("content")?;
    for item in content.list(1, usize::MAX)?.each() {
        let block = item.object()?;
        block.tag(&["text"])?;
        check_text(&block, Place::Message)?;
    }
    Ok(())
}

/// Checks a source of type `url` or `file`.
fn check_reference(tag: &str, source: &Object<'_>) -> Result<(), Error> {
    if tag == "file" {
        return source.require("file_id", |id| id.text_within(1, NAME_CHARS_MAX).map(|_| ()));
    }
    source.require("url", |url| check_url(url, CONTENT_URL_CHARS_MAX).map(|_| ()))
}

/// A URL of the web without white space.
pub(crate) fn check_url(field: &Field<'_>, chars_max: usize) -> Result<String, Error> {
    let url = field.string(1, chars_max)?;
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) || url.contains(char::is_whitespace) {
        return Err(field.error("Input should be a valid URL that starts with https:// or http://"));
    }
    Ok(url)
}

fn check_base64(field: &Field<'_>) -> Result<(), Error> {
    let data = field.text()?.as_bytes();
    let padding = data.iter().rev().take(2).filter(|byte| **byte == b'=').count();
    let digits = &data[..data.len() - padding];
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    if data.is_empty() || !data.len().is_multiple_of(4) || !digits.iter().all(is_digit) {
        return Err(field.error("Input should be valid base64"));
    }
    Ok(())
}
