//! `grep`: lines that match a regular expression, as `path:line:text`.
//!
//! Like ripgrep, which models know: what `.gitignore` names is left out, and so are binary files. Unlike it, hidden files
//! are searched.

use std::io;
use std::path::Path;

use grep_regex::RegexMatcher;
use grep_regex::RegexMatcherBuilder;
use grep_searcher::BinaryDetection;
use grep_searcher::Searcher;
use grep_searcher::SearcherBuilder;
use grep_searcher::Sink;
use grep_searcher::SinkMatch;

use super::Outcome;
use super::file;
use super::input::Input;
use super::walk;
use crate::limits::GREP_BYTES_MAX;
use crate::limits::GREP_LINE_BYTES_MAX;
use crate::limits::GREP_LINE_CHARS_MAX;
use crate::serve::Place;

/// Runs it.
pub(super) fn run(input: &mut Input<'_>, place: &Place) -> Result<Outcome, String> {
    let pattern = input.filled_text("pattern")?;
    let given = input.optional_text("path")?.filter(|path| !path.is_empty());
    let matcher = RegexMatcherBuilder::new().line_terminator(Some(b'\n')).build(&pattern);
    let matcher = matcher.map_err(|error| format!("grep: invalid regex: {error}"))?;
    let given = given.as_deref().unwrap_or(".");
    let root = file::locate(place, given);
    let root: std::path::PathBuf = root.components().collect();
    let metadata = std::fs::metadata(&root).map_err(|error| file::complain("grep", given, &error))?;
    let mut searcher = SearcherBuilder::new()
        .line_number(true)
        .heap_limit(Some(GREP_LINE_BYTES_MAX))
        .binary_detection(BinaryDetection::quit(0))
        .build();
    let mut hits = Hits { text: String::new(), is_full: false };
    let mut bounds = walk::Bounds::new();
    if metadata.is_dir() {
        let mut builder = walk::builder(&root, &root.to_string_lossy());
        builder.hidden(false).git_global(false).require_git(false).sort_by_file_name(Ord::cmp);
        for entry in builder.build().flatten() {
            if hits.is_full || !bounds.allow() {
                break;
            }
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                // One file that cannot be read does not spoil the others.
                drop(search(&mut searcher, &matcher, entry.path(), given, &mut hits));
            }
        }
    } else {
        search(&mut searcher, &matcher, &root, given, &mut hits)?;
    }
    Ok(Outcome::text(hits.render(bounds.stopped)))
}

fn search(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    path: &Path,
    given: &str,
    hits: &mut Hits,
) -> Result<(), String> {
    let (file, _) = file::open("grep", given, path)?;
    let mut file_hits = FileHits { path: &path.to_string_lossy(), hits };
    searcher
        .search_file(matcher, &file, &mut file_hits)
        .map_err(|error| file::complain("grep", given, &error))
}

struct Hits {
    text: String,
    is_full: bool,
}

impl Hits {
    fn push(&mut self, line: &str) -> bool {
        if self.text.len() + line.len() + 1 > GREP_BYTES_MAX {
            self.is_full = true;
            return false;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        true
    }

    fn render(self, stopped: Option<String>) -> String {
        let text = if self.text.is_empty() && !self.is_full { "no matches".to_owned() } else { self.text };
        let mut parts = vec![text];
        if self.is_full {
            parts.push(format!("[output truncated at {GREP_BYTES_MAX} bytes]"));
        }
        parts.extend(stopped);
        parts.join("\n")
    }
}

struct FileHits<'a> {
    path: &'a str,
    hits: &'a mut Hits,
}

impl Sink for FileHits<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let first = found.line_number().unwrap_or(0);
        for (line, bytes) in (first..).zip(found.lines()) {
            let text = String::from_utf8_lossy(bytes);
            let text = text.trim_end_matches(['\r', '\n']);
            let cut = text.char_indices().nth(GREP_LINE_CHARS_MAX);
            let text = match cut {
                Some((end, _)) => format!("{} [line cut]", &text[..end]),
                None => text.to_owned(),
            };
            if !self.hits.push(&format!("{}:{line}:{text}", self.path)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
