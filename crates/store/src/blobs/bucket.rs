//! Blobs in a bucket: its address and settings, checked before anything is sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::BackoffConfig;
use object_store::ClientOptions;
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::aws::AmazonS3ConfigKey;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use crate::limits;

const SCHEME: &str = "s3://";

/// A store over the part of a bucket that `url` names.
pub(super) fn open(
    url: &str,
    options: &[(String, String)],
    patience: Duration,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let place = url.strip_prefix(SCHEME).ok_or_else(|| {
        refused(format!(
            "an address such as `{SCHEME}bucket/prefix` is wanted; a server is named by `endpoint`"
        ))
    })?;
    // A blob may take its time; a connection on which nothing moves may not.
    let client = ClientOptions::new().with_timeout_disabled().with_read_timeout(limits::BUCKET_SILENCE_MAX);
    let backoff = BackoffConfig { max_backoff: limits::BUCKET_PAUSE_MAX, ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: limits::BUCKET_RETRIES_MAX, retry_timeout: patience };
    let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
    for (name, value) in options {
        let name: AmazonS3ConfigKey = name.parse()?;
        builder = builder.with_config(name, value);
    }
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(refused(format!("`{url}` names no bucket")));
    }
    let builder = builder.with_bucket_name(bucket);
    check_encryption(&builder)?;
    let store = builder.build()?;
    let prefix = prefix.trim_matches('/');
    Ok(if prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, Path::from(prefix)))
    })
}

/// A server without encryption is reached only by the word of whoever runs this one. Told here, for the client would say
/// no more than that the address is bad, and only when it is first used.
fn check_encryption(builder: &AmazonS3Builder) -> object_store::Result<()> {
    let allow_http: AmazonS3ConfigKey = "allow_http".parse()?;
    let is_allowed = builder
        .get_config_value(&allow_http)
        .is_some_and(|value| ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str()));
    let endpoints = [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint];
    let mut endpoints = endpoints.iter().filter_map(|key| builder.get_config_value(key));
    match endpoints.find(|endpoint| endpoint.starts_with("http://")) {
        Some(endpoint) if !is_allowed => Err(refused(format!(
            "`{endpoint}` is not encrypted; use https, or set `allow_http` to \"true\" if everyone on the way is trusted"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn refused(reason: String) -> object_store::Error {
    object_store::Error::Generic { store: "bucket", source: Box::new(io::Error::other(reason)) }
}
