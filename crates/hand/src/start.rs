//! The first message of the spawner: what this process is to be.

use std::io;
use std::os::fd::BorrowedFd;

use serde::Deserialize;
use serde::Serialize;

use crate::confine;
use crate::control;
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

impl Start {
    /// Waits for it on the control socket.
    pub fn read(control: BorrowedFd<'_>) -> io::Result<Self> {
        let packet = control::receive(control)?;
        serde_json::from_slice(&packet.bytes).map_err(io::Error::other)
    }
}
