//! `/x/v1/environments/{id}/sandbox`: what an environment says of its sandboxes beyond the API's own fields.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::body;
use crate::body::Field;
use crate::body::Object;
use crate::errors::Error;
use crate::ids::EnvironmentId;
use crate::limits::IMAGE_CHARS_MAX;
use crate::limits::RESOURCE_CLASS_CHARS_MAX;
use crate::limits::SETUP_CHARS_MAX;
use crate::limits::VARIABLE_CHARS_MAX;
use crate::limits::VARIABLE_NAME_CHARS_MAX;
use crate::limits::VARIABLES_CHARS_MAX;
use crate::limits::VARIABLES_MAX;
use crate::patch::Patch;

/// Settings of an environment's sandboxes beyond the API's own fields: our addition, under `/x/v1/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSettings {
    /// Name of the image whose files its sandboxes start with; the operator's choice without one.
    pub image: Option<String>,
    /// A script that runs once, after the packages are installed, and whose files are part of what is installed.
    pub setup: Option<String>,
    /// Environment variables of shells and tools. Not for secrets.
    pub variables: BTreeMap<String, String>,
    /// Name of one of the operator's resource classes; the operator's default without one.
    pub resources: Option<String>,
}

/// A request to change the settings: what is left out is kept, null clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxUpdate {
    /// See [`SandboxSettings::image`].
    pub image: Patch<String>,
    /// See [`SandboxSettings::setup`].
    pub setup: Patch<String>,
    /// See [`SandboxSettings::variables`]: name by name, where `None` removes one.
    pub variables: Patch<Vec<(String, Option<String>)>>,
    /// See [`SandboxSettings::resources`].
    pub resources: Patch<String>,
}

impl SandboxUpdate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        object.only(&["image", "setup", "variables", "resources"])?;
        let name = |field: &Field<'_>, max| -> Result<String, Error> {
            let text = field.string(1, max)?;
            if is_name(&text) { Ok(text) } else { Err(field.error(NAME_FORM)) }
        };
        Ok(Self {
            image: object.patched("image", |field| name(field, IMAGE_CHARS_MAX))?,
            setup: object.patched("setup", |field| field.string(1, SETUP_CHARS_MAX))?,
            variables: object.patched("variables", parse_variables)?,
            resources: object.patched("resources", |field| name(field, RESOURCE_CLASS_CHARS_MAX))?,
        })
    }
}

impl SandboxSettings {
    /// The settings after an update.
    pub fn update(&self, update: SandboxUpdate) -> Result<Self, Error> {
        let SandboxUpdate { image, setup, variables, resources } = update;
        let stored = self.clone();
        let variables = match variables {
            Patch::Absent => stored.variables,
            Patch::Null => BTreeMap::new(),
            Patch::Value(changes) => merge_variables(stored.variables, changes)?,
        };
        Ok(Self {
            image: image.over(stored.image),
            setup: setup.over(stored.setup),
            variables,
            resources: resources.over(stored.resources),
        })
    }

    /// The answer to whoever asks for the settings of an environment.
    pub fn render(&self, environment: &EnvironmentId) -> String {
        let Self { image, setup, variables, resources } = self;
        let answer = json!({
            "type": "environment_sandbox",
            "environment_id": environment,
            "image": image,
            "setup": setup,
            "variables": variables,
            "resources": resources,
        });
        answer.to_string()
    }
}

const NAME_FORM: &str = "Input should be a name of lower-case letters, digits, dots, hyphens and underscores that begins with a letter or digit";

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(is_plain)
        && text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'-' | b'_'))
}

fn parse_variables(field: &Field<'_>) -> Result<Vec<(String, Option<String>)>, Error> {
    let object = field.object()?;
    let mut changes = Vec::new();
    for (name, value) in object.each() {
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let is_name = name.bytes().next().is_some_and(is_letter)
            && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit());
        if !is_name || name.len() > VARIABLE_NAME_CHARS_MAX {
            return Err(value.error("A variable is named by letters, digits and underscores, no digit first"));
        }
        let text = if value.value.is_null() { None } else { Some(value.text_within(0, VARIABLE_CHARS_MAX)?) };
        changes.push((name.to_owned(), text.map(str::to_owned)));
    }
    Ok(changes)
}

fn merge_variables(
    stored: BTreeMap<String, String>,
    changes: Vec<(String, Option<String>)>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut merged = stored;
    for (name, value) in changes {
        match value {
            Some(text) => merged.insert(name, text),
            None => merged.remove(&name),
        };
    }
    let total: usize = merged.iter().map(|(name, value)| name.len() + value.len()).sum();
    if merged.len() > VARIABLES_MAX || total > VARIABLES_CHARS_MAX {
        return Err(Error::invalid(format!(
            "variables: There should be at most {VARIABLES_MAX} variables of at most {VARIABLES_CHARS_MAX} \
             characters together"
        )));
    }
    Ok(merged)
}
