//! The six tools. `bash` is a command for a shell that stays; the others are functions from input to outcome that run in
//! a forked child, so that one that hangs or crashes takes nothing with it.

pub(crate) mod bash;
mod edit;
mod file;
mod glob;
mod grep;
mod input;
mod notebook;
mod read;
mod walk;
mod write;

use std::path::Path;

use serde::Serialize;

use crate::output;
use crate::place::Place;
use input::Input;

/// What a call gives back.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Content blocks in the shape of the event.
    pub(crate) content: Vec<Block>,
    /// Whether the tool failed.
    pub(crate) is_error: bool,
}

/// A content block.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Block {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Its bytes.
        source: Source,
    },
    /// A document.
    Document {
        /// Its bytes.
        source: Source,
    },
}

/// Bytes inside a block.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "base64")]
pub(crate) struct Source {
    /// What they are.
    pub(crate) media_type: &'static str,
    /// Base64.
    pub(crate) data: String,
}

/// Which tool a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Bash,
    Read,
    Write,
    Edit,
    Glob,
    Grep,
}

impl Outcome {
    /// A success that says `text`.
    pub(crate) fn text(text: String) -> Self {
        Self { content: vec![Block::Text { text }], is_error: false }
    }

    /// A failure that says `text`.
    pub(crate) fn error(text: String) -> Self {
        Self { content: vec![Block::Text { text }], is_error: true }
    }
}

impl Tool {
    /// The tool called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let tool = match name {
            "bash" => Self::Bash,
            "read" => Self::Read,
            "write" => Self::Write,
            "edit" => Self::Edit,
            "glob" => Self::Glob,
            "grep" => Self::Grep,
            _ => return None,
        };
        Some(tool)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Glob => "glob",
            Self::Grep => "grep",
        }
    }
}

/// Runs a file tool here and now. A text too long for a result goes to `overflow`.
pub(crate) fn run(tool: Tool, input: &str, place: &Place, overflow: &Path) -> Outcome {
    let outcome = Input::parse(tool.name(), input).and_then(|mut input| match tool {
        Tool::Bash => Err("bash: needs a shell".to_owned()),
        Tool::Read => read::run(&mut input, place),
        Tool::Write => write::run(&mut input, place),
        Tool::Edit => edit::run(&mut input, place),
        Tool::Glob => glob::run(&mut input, place),
        Tool::Grep => grep::run(&mut input, place),
    });
    let mut outcome = outcome.unwrap_or_else(Outcome::error);
    for block in &mut outcome.content {
        if let Block::Text { text } = block {
            *text = output::shorten(std::mem::take(text), overflow.to_owned());
        }
    }
    outcome
}
