//! A layer on its way from wherever it is to the back end, hashed as it passes.

use sha2::Digest as _;
use sha2::Sha256;

use super::Blob;
use super::Content;
use super::DOCUMENT_BYTES_MAX;
use super::Digest;
use super::Error;
use crate::Backend;
use crate::LayerName;
use crate::LayerWriter;
use crate::Place;
use crate::Unpacked;

/// Bytes of one layer as it travels.
const LAYER_BYTES_MAX: u64 = 64 << 30;

/// A layer that is coming in.
pub(super) struct Intake {
    writer: LayerWriter,
    hash: Sha256,
}

impl Intake {
    pub(super) async fn begin(backend: &dyn Backend, layer: &LayerName) -> Result<Self, Error> {
        let writer = backend.unpack(&Place::Layer(layer.clone())).await?;
        Ok(Self { writer, hash: Sha256::new() })
    }

    /// Passes everything on. Fails when there is more than was promised, before the rest of it is read.
    pub(super) async fn pour(
        &mut self,
        content: &mut dyn Content,
        promised: Option<&Blob>,
    ) -> Result<(), Error> {
        let mut bytes = 0;
        loop {
            let chunk = content.next().await?;
            if chunk.is_empty() {
                return promised.map_or(Ok(()), |blob| expect_bytes(blob, bytes));
            }
            bytes += chunk.len() as u64;
            if let Some(blob) = promised.filter(|blob| bytes > blob.bytes) {
                return Err(too_many(blob));
            }
            if bytes > LAYER_BYTES_MAX {
                return Err(Error::refused(format!("a layer is larger than {LAYER_BYTES_MAX} bytes")));
            }
            self.hash.update(&chunk);
            self.writer.write(&chunk).await?;
        }
    }

    /// Digest of what has passed.
    pub(super) fn digest(&self) -> Digest {
        Digest::finish(self.hash.clone())
    }

    /// Ends the layer; it is in its place afterwards. Whoever drops it instead leaves nothing.
    pub(super) async fn finish(self) -> Result<Unpacked, Error> {
        Ok(self.writer.finish().await?)
    }
}

/// All bytes of a document.
pub(super) async fn read(content: &mut dyn Content, blob: &Blob) -> Result<Vec<u8>, Error> {
    if blob.bytes > DOCUMENT_BYTES_MAX {
        let reason = format!("it is larger than {DOCUMENT_BYTES_MAX} bytes");
        return Err(Error::malformed(&format!("document {}", blob.digest), reason));
    }
    let mut bytes = Vec::new();
    loop {
        let chunk = content.next().await?;
        if chunk.is_empty() {
            break;
        }
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > blob.bytes {
            return Err(too_many(blob));
        }
    }
    expect_bytes(blob, bytes.len() as u64)?;
    expect_digest(&blob.digest, Digest::of(&bytes))?;
    Ok(bytes)
}

/// The digest of everything that comes, and how much that is.
pub(super) async fn measure(content: &mut dyn Content) -> Result<(Digest, u64), Error> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let chunk = content.next().await?;
        if chunk.is_empty() {
            return Ok((Digest::finish(hash), bytes));
        }
        bytes += chunk.len() as u64;
        hash.update(&chunk);
    }
}

pub(super) fn expect_digest(expected: &Digest, found: Digest) -> Result<(), Error> {
    if *expected == found { Ok(()) } else { Err(Error::Mismatch { expected: expected.clone(), found }) }
}

fn expect_bytes(blob: &Blob, found: u64) -> Result<(), Error> {
    if found == blob.bytes {
        return Ok(());
    }
    Err(Error::Size { digest: blob.digest.clone(), bytes: blob.bytes, found: found.to_string() })
}

fn too_many(blob: &Blob) -> Error {
    Error::Size { digest: blob.digest.clone(), bytes: blob.bytes, found: "more".to_owned() }
}
