//! The model of an agent and how it is asked: what a request says ([`ModelParams`]) and what is stored
//! ([`ModelConfig`]), where every default is resolved.
//!
//! On update the object replaces the stored one as a whole, with one exception: an `effort` that is left out is kept when
//! the model stays the same. So `inference_geo` and `speed` fall back to their defaults when they are left out.

use serde::Deserialize;
use serde::Serialize;

use crate::body::Field;
use crate::errors::Error;
use crate::limits::MODEL_CHARS_MAX;

/// A model and how it is asked, as stored and answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Model id; the configuration routes it to a provider.
    pub id: String,
    /// How hard the model works.
    pub effort: Effort,
    /// Where the model has to run; `None` leaves it to the provider.
    pub inference_geo: Option<String>,
    /// Speed at which output is written.
    pub speed: Speed,
}

/// How hard the model works on each reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Effort {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`: what models do when they are not told.
    #[default]
    High,
    /// `xhigh`
    Xhigh,
    /// `max`
    Max,
}

/// Speed at which output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// `standard`
    #[default]
    Standard,
    /// `fast`
    Fast,
}

/// A model as a request names it: a string, or an object of which all but `id` may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelParams {
    /// Model id.
    pub id: String,
    /// `None` when left out.
    pub effort: Option<Effort>,
    /// `None` when left out.
    pub inference_geo: Option<String>,
    /// `None` when left out.
    pub speed: Option<Speed>,
}

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

impl Effort {
    /// The level's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads `"high"` or `{"type": "high"}`.
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        let level = if field.value.is_object() {
            field.tagged(&EFFORTS.map(|effort| (effort, &[] as &[&str])))?.0
        } else {
            field.choice(&EFFORTS)?
        };
        Ok(match level {
            "low" => Self::Low,
            "medium" => Self::Medium,
            "xhigh" => Self::Xhigh,
            "max" => Self::Max,
            _ => Self::High,
        })
    }
}

impl Speed {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Fast => "fast",
        }
    }
}

impl ModelParams {
    /// Reads a model id or a model object.
    pub fn parse(field: &Field<'_>) -> Result<Self, Error> {
        if field.value.is_string() {
            let id = field.text_within(1, MODEL_CHARS_MAX)?.to_owned();
            return Ok(Self { id, effort: None, inference_geo: None, speed: None });
        }
        if !field.value.is_object() {
            return Err(field.error("Input should be a model id or a model object"));
        }
        let object = field.object_of(&["id", "effort", "inference_geo", "speed"])?;
        let speed = object.opt("speed", |speed| speed.choice(&["standard", "fast"]));
        Ok(Self {
            id: object.require("id", |id| id.string(1, MODEL_CHARS_MAX))?,
            effort: object.opt("effort", Effort::parse)?,
            inference_geo: object
                .opt("inference_geo", |geo| geo.choice(&["us", "global"]).map(str::to_owned))?,
            speed: speed?.map(|speed| if speed == "fast" { Speed::Fast } else { Speed::Standard }),
        })
    }

    /// The model of a new agent.
    pub fn resolve(self) -> ModelConfig {
        let Self { id, effort, inference_geo, speed } = self;
        ModelConfig {
            id,
            effort: effort.unwrap_or_default(),
            inference_geo,
            speed: speed.unwrap_or_default(),
        }
    }

    /// The model of an agent that had `stored` before.
    pub fn replace(mut self, stored: &ModelConfig) -> ModelConfig {
        if self.effort.is_none() && self.id == stored.id {
            self.effort = Some(stored.effort);
        }
        self.resolve()
    }

    /// The model of a session that overrides its agent's: an `effort` in the override is not applied.
    pub fn resolve_override(self) -> ModelConfig {
        Self { effort: None, ..self }.resolve()
    }
}
