//! The first message of the spawner: what this process is to be.

use serde::Deserialize;
use serde::Serialize;

use crate::confine;
use crate::layer::LayerSpec;

/// What this process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The first process of a sandbox.
    Sandbox(confine::Spec),
    /// A worker on a layer.
    Layer(LayerSpec),
}
