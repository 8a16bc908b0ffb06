//! The parsers of images, which are private to their crate: their sources, as they are.

#![allow(dead_code, unreachable_pub, reason = "only the parsers are used here")]

#[path = "../../crates/sandbox/src/images/archive.rs"]
mod archive;
#[path = "../../crates/sandbox/src/images/document.rs"]
mod document;
#[path = "../../crates/sandbox/src/images/error.rs"]
mod error;
#[path = "../../crates/sandbox/src/images/name.rs"]
mod name;
#[path = "../../crates/sandbox/src/images/tar.rs"]
mod tar;
#[path = "../../crates/sandbox/src/images/variables.rs"]
mod variables;

pub mod archives;
pub mod documents;

pub(crate) use error::Error;
pub(crate) use name::Digest;
pub(crate) use name::ImageName;

pub(crate) fn architecture() -> &'static str {
    "amd64"
}
