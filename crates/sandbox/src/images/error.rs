//! What can go wrong with images.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::Digest;
use super::ImageName;

/// A failure to read, take in or remove an image.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "read as `images::Error`")]
pub enum Error {
    /// Not the name of an image.
    #[error(
        "read the name of an image: {text:?} is not a small letter or digit with up to 63 more of them, dots, underscores \
         and hyphens"
    )]
    Name {
        /// The text.
        text: String,
    },
    /// Not a digest.
    #[error("read a digest: {text:?} is not \"sha256:\" and 64 hexadecimal digits in lower case")]
    NotADigest {
        /// The text.
        text: String,
    },
    /// There is no such image.
    #[error(
        "find the image {name}: there is none; build, import or pull it first, see `journeyman image --help`"
    )]
    Absent {
        /// Its name.
        name: ImageName,
    },
    /// A file could not be read or written.
    #[error("{attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A document is not what it has to be.
    #[error("read the {what}: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is of a kind that is not taken in.
    #[error("take in the image: {reason}")]
    Refused {
        /// What, and why.
        reason: String,
    },
    /// Something named by a digest has another one.
    #[error("check {expected}: the bytes that came have the digest {found}")]
    Mismatch {
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// Something named by a digest has another size.
    #[error("check {digest}: {bytes} bytes were promised, {found} came")]
    Size {
        /// Its digest.
        digest: Digest,
        /// The size that was promised.
        bytes: u64,
        /// How many bytes came, when the rest was not waited for.
        found: String,
    },
    /// Reading an image from where it is failed.
    #[error("read {what}")]
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The back end failed.
    #[error(transparent)]
    Backend(#[from] crate::Error),
}

impl Error {
    pub(super) fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { attempt, path, source }
    }

    pub(super) fn malformed(what: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { what: what.to_owned(), reason: reason.into() }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}
