//! Images: root file systems that sandboxes can start on, as lists of layers.
//!
//! An image is a small record in the folder `images` of the data folder; its layers are the back end's, and shared. They
//! come from image archives, from plain tars of a root file system, or from whoever implements [`Blobs`].
//!
//! Invariants: no byte of a layer is interpreted here, it goes to the back end's worker as it is; what an image names by
//! its digest is taken in only when it has that digest; a layer's name is the digest of the bytes that were checked, so no
//! image can bring a layer under the name of another one; an image is there with all its layers or not at all.

mod archive;
mod blobs;
mod document;
mod error;
mod format;
mod import;
mod intake;
mod name;
mod records;
mod tar;
mod variables;

use std::collections::BTreeMap;

use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::LayerName;
use crate::Root;

pub use blobs::Blobs;
pub use blobs::Content;
pub use document::Blob;
pub use error::Error;
pub use import::Importer;
pub use import::Made;
pub use import::Step;
pub use name::Digest;
pub use name::ImageName;
pub use records::Collected;
pub use records::Images;

/// Largest manifest, index or configuration of an image. Registries refuse larger manifests.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// A root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// What it is called here.
    pub name: ImageName,
    /// Digest of what it was made from: a manifest, a configuration, or a tar.
    pub digest: Digest,
    /// Its layers, from the bottom up, each one once.
    pub layers: Vec<LayerName>,
    /// The processor that its programs are for, as images name it: `amd64`, `arm64`.
    pub architecture: String,
    /// Environment variables that its programs expect.
    pub variables: BTreeMap<String, String>,
    /// Where its programs expect to be started, if it says.
    pub working_dir: Option<String>,
    /// When it was taken in.
    pub created_at: Timestamp,
    /// Where it comes from, for people.
    pub source: String,
    /// Size of its layers, unpacked.
    pub bytes: u64,
}

/// What a sandbox on an image starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRoot {
    /// The files.
    pub root: Root,
    /// Environment variables of its shells and tools.
    pub variables: BTreeMap<String, String>,
}

/// This machine's processor, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
