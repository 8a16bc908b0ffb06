//! What a failure of PostgreSQL means for whoever wanted to write.

use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::error::Error;
use crate::error::Source;
use crate::limits;

/// A failed attempt.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A unique key is there already.
    Duplicate,
    /// A row that must be referred to is not there, or one that is referred to would go.
    Dangling,
    /// Another transaction was in the way. Nothing happened; the next attempt may succeed.
    Conflict(Source),
    /// The connection broke before the commit was sent. Nothing happened; the next attempt connects again.
    Lost(Source),
    /// The connection broke while the commit was under way: nobody knows.
    Unknown(Source),
    /// The database refused. Nothing happened.
    Refused(Source),
}

impl Failure {
    /// A failure of a statement before the commit.
    pub(crate) fn before_commit(error: tokio_postgres::Error) -> Self {
        match error.code() {
            None => Self::Lost(error.into()),
            Some(code) => Self::by_code(&code.clone(), error),
        }
    }

    /// A failure of a statement that was sent together with the commit, or of the commit itself.
    pub(crate) fn with_commit(error: tokio_postgres::Error) -> Self {
        match Self::before_commit(error) {
            Self::Lost(source) => Self::Unknown(source),
            other => other,
        }
    }

    fn by_code(code: &SqlState, error: tokio_postgres::Error) -> Self {
        // Class 08: the connection. 57P01 to 57P05: the server shuts down, starts up, or ended the session.
        let is_lost = code.code().starts_with("08") || code.code().starts_with("57P0");
        if is_lost {
            return Self::Lost(error.into());
        }
        match *code {
            SqlState::UNIQUE_VIOLATION => Self::Duplicate,
            SqlState::FOREIGN_KEY_VIOLATION => Self::Dangling,
            SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE => {
                Self::Conflict(error.into())
            }
            _ => Self::Refused(error.into()),
        }
    }

    /// Whether nothing happened and the same may succeed now.
    pub(crate) fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Lost(_) => true,
            Self::Duplicate | Self::Dangling | Self::Unknown(_) | Self::Refused(_) => false,
        }
    }

    /// Waits before the next attempt, when the server was not there for the second time.
    pub(crate) async fn pause(&self, attempt: usize) {
        if matches!(self, Self::Lost(_)) && attempt > 1 {
            tokio::time::sleep(Duration::from_millis(limits::RECONNECT_MS)).await;
        }
    }

    /// The failure as the caller sees it.
    pub(crate) fn into_error(self, op: &'static str) -> Error {
        let is_unknown = matches!(self, Self::Unknown(_));
        let source = match self {
            Self::Duplicate => "a unique key is there already".into(),
            Self::Dangling => "a row that is referred to is missing".into(),
            Self::Conflict(source) | Self::Lost(source) | Self::Unknown(source) | Self::Refused(source) => {
                source
            }
        };
        Error::Database { op: op.to_owned(), is_unknown, source }
    }

    /// The failure in words, for callers who share it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Duplicate => "a unique key is there already".to_owned(),
            Self::Dangling => "a row that is referred to is missing".to_owned(),
            Self::Conflict(source) | Self::Lost(source) | Self::Unknown(source) | Self::Refused(source) => {
                words(source.as_ref())
            }
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            // A statement that is prepared, or a new connection: no commit was sent.
            PoolError::Backend(error) => Self::before_commit(error),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Self::Refused(error.into()),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
