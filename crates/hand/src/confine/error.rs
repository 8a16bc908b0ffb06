//! A step of raising the walls that failed.

use std::io;

/// Which step failed, and why. Goes to the spawner as text.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
#[expect(clippy::error_impl_error, reason = "read as `confine::Error`")]
pub struct Error {
    step: String,
    #[source]
    source: io::Error,
}

/// Names the step that a failure belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Error>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &str) -> Result<T, Error> {
        self.map_err(|source| Error { step: step.to_owned(), source })
    }
}

impl Error {
    pub(crate) fn new(step: &str, reason: &str) -> Self {
        Self { step: step.to_owned(), source: io::Error::other(reason.to_owned()) }
    }
}
