//! Images and documents of a request: what they claim to be, how large and how many they are.

use std::borrow::Cow;

use api::completion::Message;

use crate::raw::Fields;

/// Images and documents in one request; the Messages API takes 100.
const COUNT_MAX: usize = 100;
/// How many of the oldest are left out at once when there are more, so that the beginning of the request seldom changes.
const BATCH: usize = 20;
/// Longest base64 text of an image.
const IMAGE_CHARS_MAX: usize = 5 << 20;
/// Longest base64 text of a document; a request holds 32 MB.
const DOCUMENT_CHARS_MAX: usize = 24 << 20;

const PDF: &str = "application/pdf";

/// The images and documents of a conversation, oldest first.
#[derive(Debug)]
pub(crate) struct Media {
    /// How many of the oldest are not sent any more.
    left_out: usize,
}

/// What is to be done with an image or document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// It is of this type, and says that it is of another.
    Retype(&'static str),
    /// A text stands for it.
    Replace(String),
}

impl Media {
    /// Counts those of a conversation.
    pub(crate) fn count(messages: &[Message]) -> Self {
        let blocks = messages.iter().flat_map(|message| &message.content);
        let count: usize = blocks
            .map(|block| {
                // Of results, too: base64 holds no quotation mark.
                ["\"type\":\"image\"", "\"type\":\"document\""]
                    .iter()
                    .map(|mark| block.get().matches(mark).count())
                    .sum::<usize>()
            })
            .sum();
        let left_out = count.saturating_sub(COUNT_MAX).div_ceil(BATCH) * BATCH;
        Self { left_out }
    }

    /// Looks at the next one.
    pub(crate) fn judge(&mut self, kind: &str, block: &Fields<'_>) -> Verdict {
        if self.left_out > 0 {
            self.left_out -= 1;
            return Verdict::Replace(format!(
                "[an older {kind} was left out: a request holds {COUNT_MAX} at most]"
            ));
        }
        let unusable = |why: &str| {
            Verdict::Replace(format!(
                "[{} {kind} cannot be shown: {why}]",
                if kind == "image" { "an" } else { "a" }
            ))
        };
        let Some(source) = block.get("source").and_then(Fields::of) else {
            return unusable("it has no source");
        };
        if source.string("type").as_deref() != Some("base64") {
            return Verdict::Keep;
        }
        let (claimed, data) = (text(&source, "media_type"), text(&source, "data"));
        let chars_max = if kind == "image" { IMAGE_CHARS_MAX } else { DOCUMENT_CHARS_MAX };
        if data.len() > chars_max {
            return unusable(&format!("it is larger than {} MiB", chars_max >> 20));
        }
        let found = media_type(&data);
        let fits = match kind {
            "image" => found.is_some_and(|found| found.starts_with("image/")),
            _ => found == Some(PDF) || claimed == "text/plain",
        };
        match found {
            _ if !fits && kind == "image" => unusable("it is not a PNG, JPEG, GIF or WebP image"),
            _ if !fits => unusable("it is not a PDF"),
            Some(found) if found != claimed && claimed != "text/plain" => Verdict::Retype(found),
            Some(_) | None => Verdict::Keep,
        }
    }
}

fn text<'a>(fields: &Fields<'a>, name: &str) -> Cow<'a, str> {
    fields.string(name).unwrap_or_default()
}

/// The type that the first bytes of a base64 text tell.
fn media_type(data: &str) -> Option<&'static str> {
    // Three bytes are four characters, so the beginnings of the texts tell as much as those of the files. The name of a
    // WebP file comes after its size.
    const MARKS: [(&str, &str); 4] =
        [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("JVBERi", PDF)];
    if data.starts_with("UklGR") && data.get(12..16) == Some("RUJQ") {
        return Some("image/webp");
    }
    MARKS.iter().find(|(mark, _)| data.starts_with(mark)).map(|(_, kind)| *kind)
}
