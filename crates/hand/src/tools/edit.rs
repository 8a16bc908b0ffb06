//! `edit`: one text in a file for another, exactly as written.

use std::io::Read;

use super::Outcome;
use super::file;
use super::input::Input;
use super::write;
use crate::limits::EDIT_BYTES_MAX;
use crate::place::Place;

/// Runs it.
pub(super) fn run(input: &mut Input<'_>, place: &Place) -> Result<Outcome, String> {
    let given = input.filled_text("file_path")?;
    let old = input.filled_text("old_string")?;
    let new = input.text("new_string")?;
    let replace_all = input.flag("replace_all")?;
    let path = file::locate(place, &given);
    let text = load(&given, &path)?;
    let count = text.matches(&old).count();
    if count == 0 {
        return Err(format!("edit: old_string not found in {given}"));
    }
    if count > 1 && !replace_all {
        return Err(format!("edit: old_string appears {count} times in {given} (must be unique)"));
    }
    write::save("edit", &given, &path, text.replace(&old, &new).as_bytes())?;
    Ok(Outcome::text(format!("edited {given} ({count} replacement(s))")))
}

fn load(given: &str, path: &std::path::Path) -> Result<String, String> {
    let (file, metadata) = file::open("edit", given, path)?;
    if metadata.len() > EDIT_BYTES_MAX {
        return Err(format!(
            "edit: {given} is {} bytes, exceeds {EDIT_BYTES_MAX}-byte limit. \
             The edit tool loads the whole file and cannot modify a file this large.",
            metadata.len()
        ));
    }
    let mut bytes = Vec::new();
    let read = file.take(EDIT_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| file::complain("edit", given, &error))?;
    String::from_utf8(bytes)
        .map_err(|_| format!("edit: {given}: not valid UTF-8 text (cannot edit binary files)"))
}
