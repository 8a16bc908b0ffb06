//! Blobs: large things under a key, in a folder or in a bucket. What a key names is whole or not there.
//!
//! In a folder a blob is written under another name, forced to the disk, renamed, and its folder forced too. In a bucket
//! it is a multipart upload. One that was never finished is not visible. A writer that is dropped takes back what it has
//! sent; what is left of one that was killed goes, in a folder, with [`Blobs::tidy`], and in a bucket by the bucket's own
//! rule for incomplete uploads.

mod bucket;
mod error;
mod folder;

use std::fmt;
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
use object_store::path::Path;
use sha2::Digest;
use sha2::Sha256;
use tokio::runtime::Handle;

pub use error::BlobError;

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
        /// `allow_http`. Of two of the same name the later holds.
        options: Vec<(String, String)>,
        /// How long a request that fails for a reason that may pass is tried again.
        patience: Duration,
    },
}

/// The blob store. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    folder: Option<PathBuf>,
    place: Arc<Place>,
}

/// Where blobs are, as errors tell it.
#[derive(Debug)]
struct Place {
    name: String,
    is_bucket: bool,
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

/// A blob on its way in. Dropped before its end, it leaves nothing under its key, and is taken back in the background.
#[derive(Debug)]
pub struct BlobWriter {
    place: Arc<Place>,
    key: String,
    /// Nothing when it has come to its end.
    upload: Option<WriteMultipart>,
    digest: Sha256,
    bytes: u64,
}

/// A blob on its way out.
pub struct BlobReader {
    place: Arc<Place>,
    key: String,
    bytes: u64,
    stream: Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>,
    digest: Sha256,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
                let place = Place { name: folder.display().to_string(), is_bucket: false };
                let opened = folder::open(folder).await;
                let store = opened.map_err(|source| BlobError::new("open", "the blobs", &place, source))?;
                Ok(Self { store: Arc::new(store), folder: Some(folder.clone()), place: Arc::new(place) })
            }
            BlobTarget::Bucket { url, options, patience } => {
                let place = Place { name: url.clone(), is_bucket: true };
                let opened = bucket::open(url, options, *patience);
                let store = opened.map_err(|source| BlobError::new("open", "the blobs", &place, source))?;
                Ok(Self { store, folder: None, place: Arc::new(place) })
            }
        }
    }

    /// Where the blobs are.
    pub fn place(&self) -> &str {
        &self.place.name
    }

    /// Stores, lists, reads and deletes a small blob: whether the store can be used.
    pub async fn check(&self, key: &str) -> Result<(), BlobError> {
        let mut writer = self.put(key).await?;
        writer.write(Bytes::from_static(b"check")).await?;
        writer.finish().await?;
        let folder = key.rsplit_once('/').map_or(key, |(folder, _)| folder);
        let mut listed = self.list(folder);
        while listed.next().await.transpose()?.is_some() {}
        let mut reader = self.get(key).await?;
        while reader.next().await?.is_some() {}
        self.delete(key).await
    }

    /// Begins a blob. It takes the place of another one of this key when it is finished.
    pub async fn put(&self, key: &str) -> Result<BlobWriter, BlobError> {
        let begun = self.store.put_multipart(&Path::from(key)).await;
        let upload = begun.map_err(|source| self.failed("store blob", key, source))?;
        let upload = Some(WriteMultipart::new_with_chunk_size(upload, limits::BLOB_PART_BYTES));
        let place = Arc::clone(&self.place);
        Ok(BlobWriter { place, key: key.to_owned(), upload, digest: Sha256::new(), bytes: 0 })
    }

    /// Opens a blob. [`BlobError::is_missing`] when there is none.
    pub async fn get(&self, key: &str) -> Result<BlobReader, BlobError> {
        let found = self.store.get(&Path::from(key)).await;
        let found = found.map_err(|source| self.failed("read blob", key, source))?;
        let bytes = found.meta.size;
        Ok(BlobReader {
            place: Arc::clone(&self.place),
            key: key.to_owned(),
            bytes,
            stream: Box::pin(found.into_stream()),
            digest: Sha256::new(),
        })
    }

    /// Removes a blob. Fine when it is not there.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        let deleted = self.store.delete(&Path::from(key)).await;
        match deleted.map_err(|source| self.failed("delete blob", key, source)) {
            Err(error) if error.is_missing => Ok(()),
            other => other,
        }
    }

    /// The blobs whose keys begin with `prefix` and a slash, in no order, as they are found.
    pub fn list(
        &self,
        prefix: &str,
    ) -> impl Stream<Item = Result<BlobEntry, BlobError>> + Send + Unpin + use<> {
        let (owned, place) = (prefix.to_owned(), Arc::clone(&self.place));
        self.store.list(Some(&Path::from(prefix))).map(move |found| match found {
            Ok(found) => Ok(BlobEntry {
                key: found.location.to_string(),
                bytes: found.size,
                stored_at: Timestamp(found.last_modified.timestamp_micros()),
            }),
            Err(source) => Err(BlobError::new("list blobs", &owned, &place, source)),
        })
    }

    /// Removes what writers that died have left in the folder; nothing that is older than `age` is still being written.
    /// Answers how many there were.
    pub async fn tidy(&self, age: Duration) -> Result<usize, BlobError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let tidied = folder::tidy(folder, age).await;
        tidied.map_err(|source| self.failed("tidy", "the blobs", source))
    }

    fn failed(&self, op: &'static str, key: &str, source: object_store::Error) -> BlobError {
        BlobError::new(op, key, &self.place, source)
    }
}

impl BlobWriter {
    /// Takes the next bytes. Waits while too many are on their way.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let ready = self.upload().wait_for_capacity(limits::BLOB_PARTS_UNDER_WAY_MAX).await;
        ready.map_err(|source| self.failed("store blob", source))?;
        self.digest.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.upload().put(bytes);
        Ok(())
    }

    /// Ends the blob. It is durable, and visible under its key, when this returns.
    pub async fn finish(mut self) -> Result<Blob, BlobError> {
        let stored = self.take().finish().await;
        stored.map_err(|source| self.failed("store blob", source))?;
        Ok(Blob { bytes: self.bytes, sha256: hex(std::mem::take(&mut self.digest)) })
    }

    /// Gives the blob up, and waits until the bucket has forgotten what it has of it.
    pub async fn abort(mut self) -> Result<(), BlobError> {
        let aborted = self.take().abort().await;
        aborted.map_err(|source| self.failed("give up blob", source))
    }

    fn upload(&mut self) -> &mut WriteMultipart {
        self.upload.as_mut().expect("only the end of a writer takes its upload")
    }

    fn take(&mut self) -> WriteMultipart {
        self.upload.take().expect("a writer ends once")
    }

    fn failed(&self, op: &'static str, source: object_store::Error) -> BlobError {
        BlobError::new(op, &self.key, &self.place, source)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Parts in a bucket cost money until somebody takes them back. Where nothing runs any more, the bucket's rule does.
        let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) else { return };
        let (place, key) = (Arc::clone(&self.place), std::mem::take(&mut self.key));
        drop(runtime.spawn(async move {
            if let Err(source) = upload.abort().await {
                let error = BlobError::new("give up blob", &key, &place, source);
                tracing::warn!(error = %error, "{error}; what was sent of it stays until the bucket's own rule removes it");
            }
        }));
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
        let next = next.map_err(|source| BlobError::new("read blob", &self.key, &self.place, source))?;
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

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
