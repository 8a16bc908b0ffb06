//! What can go wrong with a blob, told so that whoever runs the server knows what to do.

use std::error::Error;
use std::fmt;

use object_store::client::HttpError;
use object_store::client::HttpErrorKind;

use super::Place;

/// Something went wrong with a blob: what was attempted, with what, where, why, and what may help.
#[derive(Debug, thiserror::Error)]
#[error("{op} {key} in {place}{trouble}")]
pub struct BlobError {
    op: &'static str,
    key: String,
    place: String,
    trouble: Trouble,
    /// There is nothing under this key. Not so when there is no bucket, or when something else answers in its place.
    pub is_missing: bool,
    #[source]
    source: Box<Words>,
}

/// The client's own words. They hold those of what caused it, so nothing follows after them.
#[derive(Debug)]
struct Words(object_store::Error);

impl Error for Words {}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            object_store::Error::Generic { store: _, source } => fmt::Display::fmt(source, f),
            other => fmt::Display::fmt(other, f),
        }
    }
}

/// What can be told of a failure beyond its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Missing,
    NoBucket,
    NoCredentials,
    Refused,
    Elsewhere,
    Unreachable,
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => ": there is none",
            Self::NoBucket => ": there is no such bucket; make it, or correct its address or `endpoint`",
            Self::NoCredentials => {
                ": there are no credentials; set `access_key_id` and `secret_access_key`, or give this machine a role"
            }
            Self::Refused => {
                ": access is refused; check `access_key_id`, `secret_access_key`, this machine's clock, \
                 and that the credentials may read, write, list and delete there"
            }
            Self::Elsewhere => ": the bucket is in another region; set `region`",
            Self::Unreachable => {
                ": no answer; check `endpoint`, `region`, and that this machine can reach the server"
            }
            Self::Other => "",
        })
    }
}

impl BlobError {
    pub(super) fn new(op: &'static str, key: &str, place: &Place, source: object_store::Error) -> Self {
        let trouble = if place.is_bucket {
            of_bucket(&source)
        } else if matches!(source, object_store::Error::NotFound { .. }) {
            Trouble::Missing
        } else {
            Trouble::Other
        };
        let is_missing = trouble == Trouble::Missing;
        Self {
            op,
            key: key.to_owned(),
            place: place.name.clone(),
            trouble,
            is_missing,
            source: Box::new(Words(source)),
        }
    }
}

/// Servers tell causes by codes in the text of their answers. Only the code tells a blob that is not there from a bucket
/// that is not there, and from a server that is no store at all.
fn of_bucket(error: &object_store::Error) -> Trouble {
    let text = error.to_string();
    let has_code = |code: &str| text.contains(&format!("<Code>{code}</Code>"));
    if has_code("NoSuchKey") {
        return Trouble::Missing;
    }
    if has_code("NoSuchBucket") {
        return Trouble::NoBucket;
    }
    // Roles of machines are asked for under these addresses.
    if text.contains("/latest/api/token") || text.contains("/latest/meta-data/") {
        return Trouble::NoCredentials;
    }
    if has_code("AuthorizationHeaderMalformed") || text.contains("without LOCATION") {
        return Trouble::Elsewhere;
    }
    let is_refused = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    );
    // The removal of several blobs is refused for each of them, in an answer of its own form.
    if is_refused || text.contains("(code: AccessDenied)") {
        return Trouble::Refused;
    }
    if is_unreachable(error) { Trouble::Unreachable } else { Trouble::Other }
}

fn is_unreachable(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return matches!(
                error.kind(),
                HttpErrorKind::Connect
                    | HttpErrorKind::Request
                    | HttpErrorKind::Timeout
                    | HttpErrorKind::Interrupted
            );
        }
        cause = error.source();
    }
    false
}
