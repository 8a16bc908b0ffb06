//! How the six sandbox tools are described to the model. Input schemas as in the API's `agent_toolset_20260401`.

use std::sync::Arc;
use std::sync::LazyLock;

use serde_json::json;
use serde_json::value::RawValue;

static DEFINITIONS: LazyLock<Vec<(&'static str, Arc<RawValue>)>> = LazyLock::new(|| {
    let define = |name: &'static str, description: &str, properties: serde_json::Value, required: &[&str]| {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let tool = json!({"name": name, "description": description, "input_schema": schema});
        (name, api::entry::raw(&tool))
    };
    vec![
        define(
            "bash",
            "Runs a command in a persistent bash shell. The working directory, variables, functions and background \
             jobs last between calls. Standard input is empty. Returns standard output and error together; a \
             non-zero exit status makes the result an error.",
            json!({
                "command": {"type": "string", "description": "The command to run."},
                "restart": {"type": "boolean", "description": "Start a fresh shell instead of running a command."},
                "timeout_ms": {"type": "integer", "description": "Stop the command after this many milliseconds; 120000 when absent or 0."},
            }),
            &[],
        ),
        define(
            "read",
            "Reads a file: text as it is, images (png, jpg, gif, webp) and PDF documents to look at, notebooks as text.",
            json!({
                "file_path": {"type": "string", "description": "Path of the file; relative paths start at /workspace."},
                "view_range": {
                    "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2,
                    "description": "First and last line, counted from 1, both included; a last line of -1 means the end.",
                },
            }),
            &["file_path"],
        ),
        define(
            "write",
            "Writes a file, replacing what was there. Missing directories are made.",
            json!({
                "file_path": {"type": "string", "description": "Path of the file."},
                "content": {"type": "string", "description": "The whole new content."},
            }),
            &["file_path", "content"],
        ),
        define(
            "edit",
            "Replaces a text in a file. The old text must occur exactly once, unless replace_all is set.",
            json!({
                "file_path": {"type": "string", "description": "Path of the file."},
                "old_string": {"type": "string", "description": "The text to replace, exactly as it stands in the file."},
                "new_string": {"type": "string", "description": "The text to put in its place."},
                "replace_all": {"type": "boolean", "description": "Replace every occurrence."},
            }),
            &["file_path", "old_string", "new_string"],
        ),
        define(
            "glob",
            "Finds files by name pattern, such as **/*.rs. Newest first, at most 200.",
            json!({
                "pattern": {"type": "string", "description": "The pattern; ** crosses directories."},
                "path": {"type": "string", "description": "Directory to search; /workspace when absent."},
            }),
            &["pattern"],
        ),
        define(
            "grep",
            "Finds lines that match a regular expression, in a file or in all files of a directory.",
            json!({
                "pattern": {"type": "string", "description": "Regular expression, Rust syntax."},
                "path": {"type": "string", "description": "File or directory to search; /workspace when absent."},
            }),
            &["pattern"],
        ),
    ]
});

/// The definition of a built-in tool, as the model gets it; `None` for a tool that there is not.
pub(crate) fn definition(name: &str) -> Option<Arc<RawValue>> {
    DEFINITIONS.iter().find(|(known, _)| *known == name).map(|(_, tool)| Arc::clone(tool))
}
