//! Resources of a session: files, repositories and memory stores. Their shapes are checked; mounting them is not built.

use crate::body::Field;
use crate::errors::Error;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::RESOURCES_MAX;
use crate::limits::URL_CHARS_MAX;

/// Characters of the instructions that come with a memory store (documented).
const INSTRUCTIONS_CHARS_MAX: usize = 4_096;

/// Checks `resources` and says how many there are.
pub(crate) fn parse(field: &Field<'_>) -> Result<usize, Error> {
    Ok(field.items(0, RESOURCES_MAX, |item| check(&item))?.len())
}

fn check(item: &Field<'_>) -> Result<(), Error> {
    let (tag, object) = item.tagged(&[
        ("file", &["file_id", "mount_path"]),
        ("github_repository", &["url", "authorization_token", "checkout", "mount_path"]),
        ("memory_store", &["memory_store_id", "access", "instructions"]),
    ])?;
    let text = |chars_max| move |field: &Field<'_>| field.text_within(1, chars_max).map(|_| ());
    match tag {
        "file" => {
            object.require("file_id", text(NAME_CHARS_MAX))?;
            object.opt_or_default("mount_path", text(URL_CHARS_MAX))
        }
        "memory_store" => {
            object.require("memory_store_id", text(NAME_CHARS_MAX))?;
            object.opt("access", |access| access.choice(&["read_write", "read_only"]))?;
            object.opt_or_default("instructions", text(INSTRUCTIONS_CHARS_MAX))
        }
        _ => {
            object.require("url", text(URL_CHARS_MAX))?;
            object.opt("authorization_token", text(URL_CHARS_MAX))?;
            object.opt("mount_path", text(URL_CHARS_MAX))?;
            object.opt_or_default("checkout", |checkout| {
                let (tag, checkout) = checkout.tagged(&[("branch", &["name"]), ("commit", &["sha"])])?;
                checkout.require(if tag == "branch" { "name" } else { "sha" }, text(NAME_CHARS_MAX))
            })
        }
    }
}
