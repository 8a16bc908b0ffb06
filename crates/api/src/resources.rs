//! Resources of a session: files, repositories and memory stores. Their shapes are checked; mounting them is not built.

use crate::body::Field;
use crate::body::Object;
use crate::errors::Error;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::RESOURCES_MAX;
use crate::limits::URL_CHARS_MAX;

/// Characters of the instructions that come with a memory store (documented).
const INSTRUCTIONS_CHARS_MAX: usize = 4_096;

/// Checks `resources` and says how many there are.
pub(crate) fn parse(field: &Field<'_>) -> Result<usize, Error> {
    let list = field.list(0, RESOURCES_MAX)?;
    for item in list.each() {
        let object = item.object()?;
        match object.tag(&["file", "github_repository", "memory_store"])? {
            "file" => {
                object.only(&["type", "file_id", "mount_path"])?;
                object.required("file_id")?.text_within(1, NAME_CHARS_MAX)?;
                check_text(&object, "mount_path", URL_CHARS_MAX)?;
            }
            "memory_store" => {
                object.only(&["type", "memory_store_id", "access", "instructions"])?;
                object.required("memory_store_id")?.text_within(1, NAME_CHARS_MAX)?;
                if let Some(access) = object.optional("access") {
                    access.choice(&["read_write", "read_only"])?;
                }
                check_text(&object, "instructions", INSTRUCTIONS_CHARS_MAX)?;
            }
            _ => check_repository(&object)?,
        }
    }
    Ok(list.count())
}

fn check_repository(object: &Object<'_>) -> Result<(), Error> {
    object.only(&["type", "url", "authorization_token", "checkout", "mount_path"])?;
    object.required("url")?.text_within(1, URL_CHARS_MAX)?;
    check_text(object, "authorization_token", URL_CHARS_MAX)?;
    check_text(object, "mount_path", URL_CHARS_MAX)?;
    let Some(checkout) = object.optional("checkout") else {
        return Ok(());
    };
    let checkout = checkout.object()?;
    let name = if checkout.tag(&["branch", "commit"])? == "branch" { "name" } else { "sha" };
    checkout.only(&["type", name])?;
    checkout.required(name)?.text_within(1, NAME_CHARS_MAX)?;
    Ok(())
}

fn check_text(object: &Object<'_>, name: &str, chars_max: usize) -> Result<(), Error> {
    match object.optional(name) {
        Some(text) => text.text_within(1, chars_max).map(|_| ()),
        None => Ok(()),
    }
}
