//! `grep`: lines that match a regular expression, as `path:line:text`.
//!
//! Like ripgrep, which models know: binary files are left out, and so is what the `.gitignore` files of a repository name
//! at and below the path. Unlike it, hidden files are searched, and when nothing else matches, ignored files are as well.

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
use crate::place::Place;

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
    let searcher = SearcherBuilder::new()
        .line_number(true)
        .heap_limit(Some(GREP_LINE_BYTES_MAX))
        .binary_detection(BinaryDetection::quit(0))
        .build();
    let mut search =
        Search { searcher, matcher, given, hits: Hits::default(), bounds: walk::Bounds::new(), files: 0 };
    let note = if metadata.is_dir() {
        search.folder(&root)
    } else {
        search.file(&root)?;
        None
    };
    Ok(Outcome::text(search.hits.render(note.into_iter().chain(search.bounds.notes()))))
}

struct Search<'a> {
    searcher: Searcher,
    matcher: RegexMatcher,
    given: &'a str,
    hits: Hits,
    bounds: walk::Bounds,
    /// How many files were searched.
    files: usize,
}

impl Search<'_> {
    /// Searches a folder without its ignored files, and those only when nothing else matches. Answers what the result has
    /// to say of them.
    fn folder(&mut self, root: &Path) -> Option<String> {
        self.walk(root, true, Self::try_file);
        let searched = std::mem::take(&mut self.files);
        if self.hits.text.is_empty() && !self.hits.is_full {
            self.walk(root, false, Self::try_file);
            let is_ignored = !self.hits.text.is_empty();
            return is_ignored
                .then(|| "[these files are ignored by .gitignore; no other file matches]".to_owned());
        }
        self.walk(root, false, |search, _| search.files += 1);
        let ignored = self.files.saturating_sub(searched);
        (ignored > 0).then(|| {
            format!(
                "[{ignored} files that .gitignore ignores were not searched; give one of them or its folder as path to \
                 search it]"
            )
        })
    }

    fn walk(&mut self, root: &Path, heeds_ignore: bool, visit: impl Fn(&mut Self, &Path)) {
        let mut builder = walk::builder(root, &root.to_string_lossy(), None, &self.bounds);
        // Rules from above the path do not count: the path was named.
        builder.standard_filters(false).git_ignore(heeds_ignore).sort_by_file_name(Ord::cmp);
        for entry in builder.build().flatten() {
            if self.hits.is_full || !self.bounds.allow() {
                break;
            }
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                visit(self, entry.path());
            }
        }
    }

    /// One file that cannot be read does not spoil the others.
    fn try_file(&mut self, path: &Path) {
        self.files += 1;
        drop(self.file(path));
    }

    fn file(&mut self, path: &Path) -> Result<(), String> {
        let (file, _) = file::open("grep", self.given, path)?;
        let mut hits = FileHits { path: &path.to_string_lossy(), hits: &mut self.hits };
        let searched = self.searcher.search_file(&self.matcher, &file, &mut hits);
        searched.map_err(|error| file::complain("grep", self.given, &error))
    }
}

#[derive(Default)]
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

    fn render(self, notes: impl Iterator<Item = String>) -> String {
        let text = if self.text.is_empty() && !self.is_full { "no matches".to_owned() } else { self.text };
        let mut parts = vec![text];
        if self.is_full {
            parts.push(format!("[output truncated at {GREP_BYTES_MAX} bytes]"));
        }
        parts.extend(notes);
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
