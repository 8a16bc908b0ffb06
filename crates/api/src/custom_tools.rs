//! Tools that the client runs: their names and the schemas of their input.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::body::Field;
use crate::body::Object;
use crate::body::excerpt;
use crate::errors::Error;
use crate::limits::PROPERTY_NAME_CHARS_MAX;
use crate::limits::TOOL_DESCRIPTION_CHARS_MAX;
use crate::limits::TOOL_NAME_CHARS_MAX;
use crate::tools::ToolName;

/// A tool that the client runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomTool {
    /// Name, unique within the agent.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input, as the client wrote it.
    pub input_schema: Map<String, Value>,
}

/// Prefixes that belong to other kinds of tools.
const RESERVED_PREFIXES: [&str; 2] = ["mcp__", "ant__"];
/// Keywords that refer to other parts of a schema.
const REFERENCES: [&str; 4] = ["$ref", "$dynamicRef", "$recursiveRef", "$anchor"];

/// Reads the rest of a tool of type `custom`.
pub(crate) fn parse(object: &Object<'_>) -> Result<CustomTool, Error> {
    object.only(&["type", "name", "description", "input_schema"])?;
    Ok(CustomTool {
        name: object.require("name", parse_name)?,
        description: object.require("description", |text| text.string(1, TOOL_DESCRIPTION_CHARS_MAX))?,
        input_schema: object.require("input_schema", parse_schema)?,
    })
}

fn parse_name(field: &Field<'_>) -> Result<String, Error> {
    let name = field.text_within(1, TOOL_NAME_CHARS_MAX)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(field.error("String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"));
    }
    if ToolName::parse(name).is_some() {
        return Err(field.error(format_args!("The name '{name}' belongs to a built-in tool")));
    }
    if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
        return Err(field.error(format_args!("Names that start with '{prefix}' are reserved")));
    }
    Ok(name.to_owned())
}

fn parse_schema(field: &Field<'_>) -> Result<Map<String, Value>, Error> {
    let object = field.object()?;
    object.required("type")?.choice(&["object"])?;
    for keyword in ["oneOf", "anyOf", "allOf"] {
        if let Some(combination) = object.optional(keyword) {
            return Err(combination.error("Not permitted at the top level of an input schema"));
        }
    }
    if let Some(properties) = object.optional("properties") {
        for (name, property) in properties.object()?.each() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            if name.is_empty() || name.len() > PROPERTY_NAME_CHARS_MAX || !name.chars().all(is_plain) {
                return Err(property.error("Property names should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"));
            }
        }
    }
    object.opt("required", |required| required.items(0, usize::MAX, |name| name.text().map(|_| ())))?;
    if let Some(keyword) = find_reference(field.value) {
        return Err(field
            .error(format_args!("The keyword '{}' is not permitted in an input schema", excerpt(keyword))));
    }
    Ok(field.value.as_object().cloned().unwrap_or_default())
}

fn find_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        Value::Array(items) => items.iter().find_map(find_reference),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let is_reference = REFERENCES.contains(&key.as_str()) && value.is_string();
            if is_reference { Some(key.as_str()) } else { find_reference(value) }
        }),
    }
}
