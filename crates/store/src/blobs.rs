//! Blobs: large things under a key, in a folder or in a bucket. What a key names is whole or not there.
//!
//! In a folder a blob is written under another name, forced to the disk, renamed, and its folder forced too. In a bucket
//! it is a multipart upload. One that was never finished is not visible; in a folder what is left of it goes with
//! [`Blobs::tidy`], in a bucket by the bucket's own rule for incomplete uploads.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::time::Timestamp;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::WriteMultipart;
use object_store::aws::AmazonS3Builder;
use object_store::aws::AmazonS3ConfigKey;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use sha2::Digest;
use sha2::Sha256;

use crate::limits;

/// Where blobs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobTarget {
    /// A folder of this machine, or one that all nodes mount. Made when it is not there.
    Folder(PathBuf),
    /// A bucket that speaks the protocol of S3.
    Bucket {
        /// `s3://bucket/prefix`
        url: String,
        /// Settings of the connection, such as `region`, `endpoint`, `access_key_id`, `secret_access_key` and
        /// `allow_http`.
        options: Vec<(String, String)>,
    },
}

/// The blob store. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    folder: Option<PathBuf>,
}

/// What a blob holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its size.
    pub bytes: u64,
    /// Digest of its bytes, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// A blob in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// Something went wrong with a blob.
#[derive(Debug, thiserror::Error)]
#[error("{op} {key}")]
pub struct BlobError {
    op: &'static str,
    key: String,
    /// There is nothing under this key.
    pub is_missing: bool,
    #[source]
    source: object_store::Error,
}

/// A blob on its way in. Dropped before its end, it leaves nothing under its key.
#[derive(Debug)]
pub struct BlobWriter {
    key: String,
    upload: WriteMultipart,
    digest: Sha256,
    bytes: u64,
}

/// A blob on its way out.
pub struct BlobReader {
    key: String,
    bytes: u64,
    stream: Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>,
    digest: Sha256,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("key", &self.key)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens a blob store. A bucket is not reached before it is used.
    pub async fn open(target: &BlobTarget) -> Result<Self, BlobError> {
        match target {
            BlobTarget::Folder(folder) => {
                let fail = |source| failed("open the folder of blobs", &folder.display().to_string(), source);
                let made = tokio::fs::create_dir_all(folder).await;
                made.map_err(|error| fail(generic(error)))?;
                let store = LocalFileSystem::new_with_prefix(folder).map_err(fail)?;
                let store = store.with_fsync(true).with_automatic_cleanup(true);
                Ok(Self { store: Arc::new(store), folder: Some(folder.clone()) })
            }
            BlobTarget::Bucket { url, options } => {
                let fail = |source| failed("open the bucket", url, source);
                let mut builder = AmazonS3Builder::new().with_url(url);
                for (name, value) in options {
                    let name: AmazonS3ConfigKey = name.parse().map_err(fail)?;
                    builder = builder.with_config(name, value);
                }
                let store = builder.build().map_err(fail)?;
                let prefix = url.split_once("://").and_then(|(_, place)| place.split_once('/'));
                let prefix = prefix.map(|(_, prefix)| prefix.trim_matches('/')).unwrap_or_default();
                let store: Arc<dyn ObjectStore> = if prefix.is_empty() {
                    Arc::new(store)
                } else {
                    Arc::new(PrefixStore::new(store, Path::from(prefix)))
                };
                Ok(Self { store, folder: None })
            }
        }
    }

    /// Begins a blob. It takes the place of another one of this key when it is finished.
    pub async fn put(&self, key: &str) -> Result<BlobWriter, BlobError> {
        let begun = self.store.put_multipart(&Path::from(key)).await;
        let upload = begun.map_err(|source| failed("store blob", key, source))?;
        let upload = WriteMultipart::new_with_chunk_size(upload, limits::BLOB_PART_BYTES);
        Ok(BlobWriter { key: key.to_owned(), upload, digest: Sha256::new(), bytes: 0 })
    }

    /// Opens a blob. [`BlobError::is_missing`] when there is none.
    pub async fn get(&self, key: &str) -> Result<BlobReader, BlobError> {
        let found = self.store.get(&Path::from(key)).await;
        let found = found.map_err(|source| failed("read blob", key, source))?;
        let bytes = found.meta.size;
        Ok(BlobReader {
            key: key.to_owned(),
            bytes,
            stream: Box::pin(found.into_stream()),
            digest: Sha256::new(),
        })
    }

    /// Removes a blob. Fine when it is not there.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match self.store.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("delete blob", key, source)),
        }
    }

    /// The blobs whose keys begin with `prefix` and a slash, in no order, as they are found.
    pub fn list(
        &self,
        prefix: &str,
    ) -> impl Stream<Item = Result<BlobEntry, BlobError>> + Send + Unpin + use<> {
        let owned = prefix.to_owned();
        self.store.list(Some(&Path::from(prefix))).map(move |found| match found {
            Ok(found) => Ok(BlobEntry {
                key: found.location.to_string(),
                bytes: found.size,
                stored_at: Timestamp(found.last_modified.timestamp_micros()),
            }),
            Err(source) => Err(failed("list the blobs under", &owned, source)),
        })
    }

    /// Removes what writers that died have left in the folder; nothing that is older than `age` is still being written.
    /// Answers how many there were.
    pub async fn tidy(&self, age: Duration) -> Result<usize, BlobError> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let name = folder.display().to_string();
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed = 0;
            remove_unfinished(&folder, age, 0, &mut removed).map(|()| removed)
        });
        let removed = removed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        removed.map_err(|error| failed("tidy the folder of blobs", &name, generic(error)))
    }
}

impl BlobWriter {
    /// Takes the next bytes. Waits while too many are on their way.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let ready = self.upload.wait_for_capacity(limits::BLOB_PARTS_UNDER_WAY_MAX).await;
        ready.map_err(|source| failed("store blob", &self.key, source))?;
        self.digest.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.upload.put(bytes);
        Ok(())
    }

    /// Ends the blob. It is durable, and visible under its key, when this returns.
    pub async fn finish(self) -> Result<Blob, BlobError> {
        let Self { key, upload, digest, bytes } = self;
        upload.finish().await.map_err(|source| failed("store blob", &key, source))?;
        Ok(Blob { bytes, sha256: hex(digest) })
    }

    /// Gives the blob up, and lets the bucket forget what it has of it.
    pub async fn abort(self) -> Result<(), BlobError> {
        let Self { key, upload, digest: _, bytes: _ } = self;
        upload.abort().await.map_err(|source| failed("give up blob", &key, source))
    }
}

impl BlobReader {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let next = self.stream.next().await.transpose();
        let next = next.map_err(|source| failed("read blob", &self.key, source))?;
        if let Some(bytes) = &next {
            self.digest.update(bytes);
        }
        Ok(next)
    }

    /// Digest of the bytes that were read, in lower-case hexadecimal digits.
    pub fn sha256(self) -> String {
        hex(self.digest)
    }
}

/// Unfinished blobs of a folder have a number sign and a number behind their names.
fn remove_unfinished(
    folder: &std::path::Path,
    age: Duration,
    depth: usize,
    removed: &mut usize,
) -> std::io::Result<()> {
    if depth > limits::BLOB_KEY_PARTS_MAX {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path(), age, depth + 1, removed)?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_unfinished = name.rsplit_once('#').is_some_and(|(_, number)| is_number(number));
        // Files that vanish meanwhile were finished.
        let is_old = || {
            let changed = entry.metadata().and_then(|found| found.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed >= age))
        };
        if is_unfinished && is_old() {
            std::fs::remove_file(entry.path())?;
            *removed += 1;
        }
    }
    Ok(())
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn failed(op: &'static str, key: &str, source: object_store::Error) -> BlobError {
    let is_missing = matches!(source, object_store::Error::NotFound { .. });
    BlobError { op, key: key.to_owned(), is_missing, source }
}

fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "folder", source: Box::new(source) }
}
