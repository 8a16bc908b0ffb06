//! `glob`: paths that match a pattern, newest first.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use globset::GlobBuilder;

use super::Outcome;
use super::file;
use super::input::Input;
use super::walk;
use crate::limits::GLOB_RESULTS_MAX;
use crate::place::Place;

/// Runs it.
pub(super) fn run(input: &mut Input<'_>, place: &Place) -> Result<Outcome, String> {
    let pattern = input.filled_text("pattern")?;
    let given = input.optional_text("path")?.filter(|path| !path.is_empty());
    if pattern.starts_with('/') {
        return Err(
            "glob: absolute pattern not permitted; pass a relative pattern (and optionally path)".to_owned()
        );
    }
    let pattern = pattern.strip_prefix("./").unwrap_or(&pattern);
    if Path::new(pattern).components().any(|component| component == Component::ParentDir) {
        return Err("glob: '..' is not permitted in the pattern".to_owned());
    }
    let root = file::locate(place, given.as_deref().unwrap_or("."));
    let root: PathBuf = root.components().collect();
    match std::fs::metadata(&root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(format!("glob: {}: not a directory", given.unwrap_or_default())),
        Err(error) => return Err(file::complain("glob", given.as_deref().unwrap_or("."), &error)),
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    let glob = glob.map_err(|error| format!("glob: {error}"))?.compile_matcher();
    let mut bounds = walk::Bounds::new();
    let mut matches = Vec::new();
    // Braces may hold separators, which only makes the walk deeper than it has to be.
    let depth_max = (!pattern.contains("**")).then(|| pattern.matches('/').count() + 1);
    let named = format!("{pattern} {}", root.display());
    let mut builder = walk::builder(&root.join(fixed_part(pattern)), &named, depth_max, &bounds);
    builder.standard_filters(false);
    for entry in builder.build().flatten() {
        if !bounds.allow() {
            break;
        }
        let Ok(relative) = entry.path().strip_prefix(&root) else { continue };
        if !relative.as_os_str().is_empty() && glob.is_match(relative) {
            let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok());
            matches.push((modified.unwrap_or(SystemTime::UNIX_EPOCH), entry.into_path()));
        }
    }
    Ok(Outcome::text(render(matches, bounds.notes())))
}

/// The folders that every match lies in, so that the walk can begin there.
fn fixed_part(pattern: &str) -> &str {
    let fixed = pattern.find(['*', '?', '[', '{', '\\']).map_or(pattern, |end| &pattern[..end]);
    fixed.rfind('/').map_or("", |end| &fixed[..end])
}

fn render(mut matches: Vec<(SystemTime, PathBuf)>, notes: impl Iterator<Item = String>) -> String {
    matches.sort_by(|(one, one_path), (other, other_path)| {
        other.cmp(one).then_with(|| one_path.cmp(other_path))
    });
    let mut lines: Vec<String> =
        matches.iter().take(GLOB_RESULTS_MAX).map(|(_, path)| path.to_string_lossy().into_owned()).collect();
    if lines.is_empty() {
        lines.push("no matches".to_owned());
    }
    lines.extend(notes);
    lines.join("\n")
}
