//! Where the parts of an image are read from.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::Blob;
use super::Digest;
use super::Error;
use super::archive::Archive;
use super::archive::Place;

const CHUNK_BYTES: u64 = 1 << 20;

/// Somewhere that parts of images are: what is read is not trusted, see [`super::Importer`].
#[async_trait]
pub trait Blobs: Send + Sync {
    /// The bytes of one part.
    async fn open(&self, blob: &Blob) -> Result<Box<dyn Content>, Error>;
}

/// The bytes of one part, from the first to the last.
#[async_trait]
pub trait Content: Send {
    /// The next bytes; nothing after the last.
    async fn next(&mut self) -> Result<Vec<u8>, Error>;
}

/// The folder of an OCI layout.
pub(super) struct Folder(pub(super) PathBuf);

/// An archive, and the names in it of what is named by a digest.
pub(super) struct Archived {
    pub(super) archive: Arc<Archive>,
    /// Where they are not in the folder that an OCI layout has for them.
    pub(super) names: HashMap<Digest, String>,
}

/// A stretch of a file.
pub(super) struct Stretch {
    what: String,
    file: Arc<File>,
    offset: u64,
    left: u64,
}

#[async_trait]
impl Blobs for Folder {
    async fn open(&self, blob: &Blob) -> Result<Box<dyn Content>, Error> {
        let path = self.0.join(place(&blob.digest));
        Stretch::of_file(path).await.map(|content| Box::new(content) as Box<dyn Content>)
    }
}

#[async_trait]
impl Blobs for Archived {
    async fn open(&self, blob: &Blob) -> Result<Box<dyn Content>, Error> {
        let name = self.names.get(&blob.digest).cloned().unwrap_or_else(|| place(&blob.digest));
        let Place { offset, bytes } = self.archive.find(&name)?;
        let file =
            self.archive.file.try_clone().map_err(Error::file("read the archive", Path::new(&name)))?;
        Ok(Box::new(Stretch { what: name, file: Arc::new(file), offset, left: bytes }))
    }
}

impl Stretch {
    /// A whole file.
    pub(super) async fn of_file(path: PathBuf) -> Result<Self, Error> {
        let what = path.display().to_string();
        let opened = move || {
            let file = File::open(&path).map_err(Error::file("open", &path))?;
            let metadata = file.metadata().map_err(Error::file("look at", &path))?;
            if !metadata.is_file() {
                return Err(Error::refused(format!("{} is no file", path.display())));
            }
            Ok((file, metadata.len()))
        };
        let (file, bytes) = spawn_blocking(opened).await.expect("opening a file does not panic")?;
        Ok(Self { what, file: Arc::new(file), offset: 0, left: bytes })
    }

    /// A stretch of a file that is open.
    pub(super) fn new(what: &str, file: Arc<File>, place: Place) -> Self {
        Self { what: what.to_owned(), file, offset: place.offset, left: place.bytes }
    }
}

#[async_trait]
impl Content for Stretch {
    async fn next(&mut self) -> Result<Vec<u8>, Error> {
        let bytes = usize::try_from(self.left.min(CHUNK_BYTES)).expect("bounded by the size of a chunk");
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let read = move || {
            let mut chunk = vec![0; bytes];
            file.read_exact_at(&mut chunk, offset).map(|()| chunk)
        };
        let read: io::Result<Vec<u8>> = spawn_blocking(read).await.expect("reading a file does not panic");
        let chunk = read.map_err(Error::file("read", Path::new(&self.what)))?;
        self.offset += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Ok(chunk)
    }
}

/// Where an OCI layout keeps it.
fn place(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.layer())
}
