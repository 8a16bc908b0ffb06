//! What a command prints: collected while it runs, within bounds, and turned into the text of a result.
//!
//! Up to [`OUTPUT_MEMORY_BYTES`] stay in memory. Beyond that everything goes to a file, as far as
//! [`OUTPUT_FILE_BYTES_MAX`], and the beginning and a window of the end stay in memory for the preview. So the memory is
//! bounded however much is printed, and a command never waits for more than our next read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::limits::INLINE_CHARS_MAX;
use crate::limits::OUTPUT_FILE_BYTES_MAX;
use crate::limits::OUTPUT_MEMORY_BYTES;
use crate::limits::PREVIEW_HEAD_CHARS;
use crate::limits::PREVIEW_TAIL_CHARS;
use crate::scratch;
use crate::text::plain;

/// Output so far.
pub(crate) struct Output {
    head: Vec<u8>,
    /// The last bytes, once `head` is full.
    tail: VecDeque<u8>,
    total: u64,
    file: Overflow,
}

/// The file that takes what does not fit; opened when it is first needed.
pub(crate) struct Overflow {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    failed: bool,
}

impl Output {
    /// Nothing yet; `path` is where the file will be if there has to be one.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), total: 0, file: Overflow::new(path) }
    }

    /// Takes what was printed.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = OUTPUT_MEMORY_BYTES - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        if rest.is_empty() {
            return;
        }
        self.spill_head();
        self.file.write(rest);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(OUTPUT_MEMORY_BYTES);
        self.tail.drain(..excess);
    }

    /// The text of the result, and the file for what background processes print from now on.
    pub(crate) fn finish(mut self) -> (String, Overflow) {
        if self.tail.is_empty() {
            let text = plain(&self.head);
            if text.chars().count() <= INLINE_CHARS_MAX {
                return (text, self.file);
            }
            self.spill_head();
            return (preview(&text, &text, &self.file.description(self.total)), self.file);
        }
        let description = self.file.description(self.total);
        let text = preview(&plain(&self.head), &plain(self.tail.make_contiguous()), &description);
        (text, self.file)
    }

    fn spill_head(&mut self) {
        if self.file.written == 0 {
            self.file.write(&self.head);
        }
    }
}

impl Overflow {
    /// A file that will be at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, written: 0, failed: false }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `bytes`, as far as there is room. A full disk does not fail the call.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let room = OUTPUT_FILE_BYTES_MAX.saturating_sub(self.written);
        let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if bytes.is_empty() || self.failed {
            return;
        }
        if self.file.is_none() {
            self.file = scratch::create(&self.path).ok();
        }
        let written = self.file.as_mut().is_some_and(|file| file.write_all(bytes).is_ok());
        self.failed = !written;
        self.written += bytes.len() as u64;
    }

    fn description(&self, total: u64) -> String {
        let path = self.path.display();
        if self.failed {
            return format!("{total} bytes in full; they could not be saved to {path}");
        }
        if total > self.written {
            return format!("{total} bytes in full, the first {} of them in {path}", self.written);
        }
        format!("full output: {path}")
    }
}

/// A long text of another tool than bash: the same preview, with the whole text in a file.
pub(crate) fn shorten(text: String, path: PathBuf) -> String {
    if text.len() <= INLINE_CHARS_MAX || text.chars().count() <= INLINE_CHARS_MAX {
        return text;
    }
    let mut file = Overflow::new(path);
    file.write(text.as_bytes());
    preview(&text, &text, &file.description(text.len() as u64))
}

fn preview(head: &str, tail: &str, description: &str) -> String {
    let head_end = head.char_indices().nth(PREVIEW_HEAD_CHARS).map_or(head.len(), |(index, _)| index);
    let tail_start = tail.char_indices().rev().nth(PREVIEW_TAIL_CHARS - 1).map_or(0, |(index, _)| index);
    format!("{}\n\n[output truncated; {description}]\n\n{}", &head[..head_end], &tail[tail_start..])
}
