//! Skills that an agent can load.

use serde::Deserialize;
use serde::Serialize;

use crate::body::Field;
use crate::errors::Error;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::SKILLS_MAX;

/// A skill at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Where it comes from.
    #[serde(rename = "type")]
    pub source: SkillSource,
    /// Which one.
    pub skill_id: String,
    /// Which version; `latest` when the request does not pin one.
    pub version: String,
}

/// Where a skill comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkillSource {
    /// `anthropic`: ready-made.
    Anthropic,
    /// `custom`: uploaded.
    Custom,
}

/// Reads `skills`.
pub fn parse(field: &Field<'_>) -> Result<Vec<Skill>, Error> {
    let list = field.list(0, SKILLS_MAX)?;
    let mut skills = Vec::with_capacity(list.count());
    for item in list.each() {
        let object = item.object()?;
        let tag = object.tag(&["anthropic", "custom"])?;
        object.only(&["type", "skill_id", "version"])?;
        let source = if tag == "custom" { SkillSource::Custom } else { SkillSource::Anthropic };
        let skill_id = object.required("skill_id")?.text_within(1, NAME_CHARS_MAX)?.to_owned();
        let version = match object.optional("version") {
            Some(version) => version.text_within(1, NAME_CHARS_MAX)?.to_owned(),
            None => "latest".to_owned(),
        };
        skills.push(Skill { source, skill_id, version });
    }
    Ok(skills)
}
