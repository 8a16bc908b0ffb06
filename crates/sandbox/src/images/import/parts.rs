//! The parts of an image on their way: documents, stretches of archives, files that are layers.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::LayerName;
use crate::images::Blob;
use crate::images::Blobs;
use crate::images::Content;
use crate::images::DOCUMENT_BYTES_MAX;
use crate::images::Digest;
use crate::images::Error;
use crate::images::archive::Place;
use crate::images::blobs::Stretch;
use crate::images::intake;

/// A file that is the only part there is.
pub(super) struct OneFile(pub(super) Arc<File>, pub(super) Place);

#[async_trait::async_trait]
impl Blobs for OneFile {
    async fn open(&self, blob: &Blob) -> Result<Box<dyn Content>, Error> {
        let Self(file, place) = self;
        Ok(Box::new(Stretch::new(&blob.digest.to_string(), Arc::clone(file), *place)))
    }
}

/// A document, checked.
pub(super) async fn read(blobs: &dyn Blobs, blob: &Blob) -> Result<Vec<u8>, Error> {
    intake::read(blobs.open(blob).await?.as_mut(), blob).await
}

/// The index of an OCI layout.
pub(super) async fn index_of(folder: &Path) -> Result<Vec<u8>, Error> {
    let path: PathBuf = folder.join("index.json");
    let mut content = Stretch::of_file(path).await?;
    let mut bytes = Vec::new();
    loop {
        let chunk = content.next().await?;
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(Error::malformed(
                "index.json",
                format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"),
            ));
        }
    }
}

/// The digest of a layer of a `docker save` archive, which must be the one of the configuration unless it is compressed:
/// then nothing names its digest.
pub(super) async fn measured(
    file: &File,
    path: &str,
    place: Place,
    expected: &Digest,
) -> Result<Digest, Error> {
    let file = Arc::new(file.try_clone().map_err(Error::file("read the archive", Path::new(path)))?);
    let mut content = Stretch::new(path, file, place);
    let head = content.next().await?;
    let is_compressed = matches!(head.as_slice(), [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..]);
    let mut content = Rejoined { head, rest: &mut content };
    let (digest, _) = intake::measure(&mut content).await?;
    if !is_compressed {
        intake::expect_digest(expected, digest.clone())?;
    }
    Ok(digest)
}

/// Something whose first piece was looked at.
pub(super) struct Rejoined<'a> {
    pub(super) head: Vec<u8>,
    pub(super) rest: &'a mut dyn Content,
}

#[async_trait::async_trait]
impl Content for Rejoined<'_> {
    async fn next(&mut self) -> Result<Vec<u8>, Error> {
        match std::mem::take(&mut self.head) {
            head if head.is_empty() => self.rest.next().await,
            head => Ok(head),
        }
    }
}

/// The digest in the name of a file, if there is one.
pub(super) fn named_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    Digest::of_digits(last.strip_suffix(".json").unwrap_or(last))
}

/// A layer that lies on itself adds nothing the second time: of the same ones, the topmost counts.
pub(super) fn unique(blobs: &[Blob]) -> Vec<LayerName> {
    let mut layers: Vec<LayerName> = Vec::new();
    for blob in blobs.iter().rev() {
        if !layers.contains(blob.digest.layer()) {
            layers.push(blob.digest.layer().clone());
        }
    }
    layers.reverse();
    layers
}
