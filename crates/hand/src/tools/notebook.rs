//! Jupyter notebooks as text: the source of each cell and what it printed.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Notebook {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(rename = "cell_type")]
    kind: String,
    #[serde(default)]
    source: Lines,
    execution_count: Option<i64>,
    #[serde(default)]
    outputs: Vec<Value>,
}

/// Text, whole or as a list of lines.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    Whole(String),
    Split(Vec<String>),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Whole(String::new())
    }
}

impl Lines {
    fn text(self) -> String {
        match self {
            Self::Whole(text) => text,
            Self::Split(lines) => lines.concat(),
        }
    }
}

/// The notebook in `bytes` as text, if it is one.
pub(super) fn render(bytes: &[u8]) -> Option<String> {
    let notebook: Notebook = serde_json::from_slice(bytes).ok()?;
    let mut text = String::new();
    for (index, cell) in notebook.cells.into_iter().enumerate() {
        let Cell { kind, source, execution_count, outputs } = cell;
        let run = execution_count.map(|count| format!(", run {count}")).unwrap_or_default();
        let source = source.text();
        add(&mut text, &format!("[cell {index}: {kind}{run}]\n{}", source.trim_end()));
        for output in outputs {
            add(&mut text, &format!("[output of cell {index}]\n{}", describe(&output).trim_end()));
        }
    }
    Some(text)
}

fn add(text: &mut String, part: &str) {
    let separator = if text.is_empty() { "" } else { "\n\n" };
    write!(text, "{separator}{part}").expect("writing to a string cannot fail");
}

fn describe(output: &Value) -> String {
    let lines = |value: &Value| serde_json::from_value(value.clone()).map(Lines::text).unwrap_or_default();
    if let Some(text) = output.get("text") {
        return lines(text);
    }
    if let Some(name) = output.get("ename").and_then(Value::as_str) {
        let value = output.get("evalue").and_then(Value::as_str).unwrap_or_default();
        return format!("{name}: {value}");
    }
    let Some(data) = output.get("data").and_then(Value::as_object) else { return String::new() };
    match data.get("text/plain") {
        Some(text) if data.len() == 1 => lines(text),
        text => {
            let kinds: Vec<&str> =
                data.keys().map(String::as_str).filter(|kind| *kind != "text/plain").collect();
            format!("{}\n[{} not shown]", text.map(lines).unwrap_or_default(), kinds.join(", "))
                .trim_start()
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_outputs_are_readable_text() {
        let notebook = r##"{"cells": [
            {"cell_type": "markdown", "source": ["# T\n", "x"]},
            {"cell_type": "code", "execution_count": 3, "source": "1+1", "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["hi\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "2", "image/png": "AAAA"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": []}]}]}"##;
        let text = "[cell 0: markdown]\n# T\nx\n\n[cell 1: code, run 3]\n1+1\n\n[output of cell 1]\nhi\n\n\
                    [output of cell 1]\n2\n[image/png not shown]\n\n[output of cell 1]\nValueError: bad";
        assert_eq!(render(notebook.as_bytes()).as_deref(), Some(text));
        assert_eq!(render(b"{\"a\": 1}"), None);
    }
}
