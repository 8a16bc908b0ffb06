//! A tool call that is put together from the pieces of a chat completion.
//!
//! Servers send pieces, whole values, the value so far again and again, the same name in every piece, and marks of the
//! chat template. Pieces are joined, repetitions recognised, and the last whole value counts.

use serde_json::Value;

use crate::input;
use crate::raw;
use crate::tools::Tools;

/// A call that is not complete yet.
#[derive(Debug)]
pub(crate) struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// All pieces, joined.
    arguments: String,
    /// The newest piece.
    last: String,
}

impl Call {
    /// A call that begins with this piece.
    pub(crate) fn start(piece: &Value) -> Self {
        let mut call = Self {
            index: index(piece),
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
            last: String::new(),
        };
        call.grow(piece);
        call
    }

    /// Whether the piece goes on with this call.
    pub(crate) fn takes(&self, piece: &Value) -> bool {
        let (id, name) = (id(piece), name(piece));
        // Some servers give every call the same index and tell them apart by id.
        let same_id = id.is_empty() || self.id.is_empty() || self.id == id;
        let same_index = match (index(piece), self.index) {
            (Some(new), Some(old)) => new == old,
            // Without an index a piece continues the last call, and a name begins another.
            (None, _) | (_, None) => name.is_empty() || (!id.is_empty() && self.id == id),
        };
        same_id && same_index
    }

    /// Adds a piece.
    pub(crate) fn grow(&mut self, piece: &Value) {
        if self.id.is_empty() {
            id(piece).clone_into(&mut self.id);
        }
        if self.name != name(piece) {
            self.name.push_str(name(piece));
        }
        let more = match &piece["function"]["arguments"] {
            Value::Null => return,
            Value::String(text) => text.clone(),
            // Some servers send the object itself.
            arguments => arguments.to_string(),
        };
        self.arguments.push_str(&more);
        self.last = more;
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The block of the call.
    pub(crate) fn finish(self, id: &str, tools: &Tools) -> String {
        let written = if self.arguments.trim() == "null" { "" } else { self.arguments.as_str() };
        let object = input::object(written).or_else(|| input::object(&self.last));
        let input = match object {
            Some(object) => object,
            None if written.trim().is_empty() => "{}".to_owned(),
            // The refusal of the call says what is wrong with it.
            None => raw::quote(written),
        };
        let (id, name) = (raw::quote(id), raw::quote(tools.meant(&self.name)));
        format!("{{\"type\":\"tool_use\",\"id\":{id},\"name\":{name},\"input\":{input}}}")
    }
}

fn id(piece: &Value) -> &str {
    piece["id"].as_str().unwrap_or_default()
}

fn name(piece: &Value) -> &str {
    piece["function"]["name"].as_str().unwrap_or_default()
}

fn index(piece: &Value) -> Option<u64> {
    crate::counts::count(&piece["index"])
}
