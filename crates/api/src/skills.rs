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
    const FIELDS: [&str; 2] = ["skill_id", "version"];
    field.items(0, SKILLS_MAX, |item| {
        let (tag, object) = item.tagged(&[("anthropic", &FIELDS), ("custom", &FIELDS)])?;
        let name = |field: &Field<'_>| field.string(1, NAME_CHARS_MAX);
        Ok(Skill {
            source: if tag == "custom" { SkillSource::Custom } else { SkillSource::Anthropic },
            skill_id: object.require("skill_id", name)?,
            version: object.opt("version", name)?.unwrap_or_else(|| "latest".to_owned()),
        })
    })
}
