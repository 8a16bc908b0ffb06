//! Layers on their way in and out: a tar of what lies on the layers below, compressed, in chunks over the stream of the
//! worker that packs or unpacks it (`hand::layer`). The bytes are opaque here.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::Error;
use crate::link::Link;
use crate::wire::Answer;
use crate::wire::Ask;

/// Largest chunk that a worker may send.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Name of a layer: 64 lower-case hexadecimal digits, usually a digest of what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(String);

/// Something else than 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("read the name of a layer: {0:?} is not 64 hexadecimal digits in lower case")]
pub struct NotALayer(String);

/// What was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Packed {
    /// Files, folders, links and what is said about removed ones.
    pub entries: u64,
    /// Their size before compression.
    pub bytes: u64,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Unpacked {
    /// Files, folders, links and what is said about removed ones.
    pub entries: u64,
    /// Their size without compression.
    pub bytes: u64,
}

/// A packed layer on its way out.
#[derive(Debug)]
pub struct LayerReader {
    stream: UnixStream,
}

/// A packed layer on its way in. Nothing of it is there until [`LayerWriter::finish`] has returned.
#[derive(Debug)]
pub struct LayerWriter {
    stream: UnixStream,
    /// Who knows when the layer is in its place, and under which number, if that is not the worker itself.
    place: Option<(Arc<Link>, u64)>,
}

/// A worker's last word.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word<T> {
    Ok(T),
    Error(String),
}

impl LayerName {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LayerName {
    type Error = NotALayer;

    fn try_from(text: String) -> Result<Self, NotALayer> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) { Ok(Self(text)) } else { Err(NotALayer(text)) }
    }
}

impl FromStr for LayerName {
    type Err = NotALayer;

    fn from_str(text: &str) -> Result<Self, NotALayer> {
        Self::try_from(text.to_owned())
    }
}

impl From<LayerName> for String {
    fn from(name: LayerName) -> Self {
        name.0
    }
}

impl std::fmt::Display for LayerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl LayerReader {
    /// Reads from a worker that speaks over this stream: chunks, each behind its length in four bytes with the lowest
    /// first; an empty one at the end; and one more with the worker's last word.
    pub fn open(stream: OwnedFd) -> std::io::Result<Self> {
        Ok(Self { stream: connect(stream)? })
    }

    /// The next bytes of the layer; after the last ones, what was packed.
    pub async fn next(&mut self) -> Result<Chunk, Error> {
        let bytes = chunk(&mut self.stream).await.map_err(|error| failed("read", &error))?;
        if !bytes.is_empty() {
            return Ok(Chunk::Bytes(bytes));
        }
        last_word(&mut self.stream, "pack the files of a sandbox").await.map(Chunk::End)
    }
}

/// A piece of a layer on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Some of its bytes.
    Bytes(Vec<u8>),
    /// There are no more.
    End(Packed),
}

impl LayerWriter {
    pub(crate) fn of_spawner(stream: OwnedFd, link: Arc<Link>, work: u64) -> std::io::Result<Self> {
        Ok(Self { stream: connect(stream)?, place: Some((link, work)) })
    }

    /// Writes to a worker that listens on this stream, as [`LayerReader::open`] reads from one. Its last word says that
    /// the layer is in its place.
    pub fn open(stream: OwnedFd) -> std::io::Result<Self> {
        Ok(Self { stream: connect(stream)?, place: None })
    }

    /// Sends the next bytes of the layer.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for bytes in bytes.chunks(CHUNK_BYTES_MAX) {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
            let sent = async {
                self.stream.write_all(&length).await?;
                self.stream.write_all(bytes).await
            };
            if sent.await.is_err() {
                // The worker gave up on it; its last word says why.
                return match last_word::<Unpacked>(&mut self.stream, UNPACK).await {
                    Err(error) => Err(error),
                    Ok(_) => Err(failed("send", &std::io::ErrorKind::BrokenPipe.into())),
                };
            }
        }
        Ok(())
    }

    /// Ends the layer, and waits until it is in its place.
    pub async fn finish(mut self) -> Result<Unpacked, Error> {
        // When the worker has given up already, its last word says why.
        drop(self.stream.write_all(&0u32.to_le_bytes()).await);
        let unpacked = last_word(&mut self.stream, UNPACK).await?;
        drop(self.stream);
        let Some((link, work)) = self.place else { return Ok(unpacked) };
        let (answer, _) = link
            .ask(Ask::Await { work })
            .await
            .map_err(|source| Error::Spawner { attempt: "ask", source })?;
        match answer {
            Answer::Ended => Ok(unpacked),
            other => Err(Error::Layer { attempt: UNPACK.to_owned(), reason: format!("{other:?}") }),
        }
    }
}

const UNPACK: &str = "unpack a layer";

fn connect(stream: OwnedFd) -> std::io::Result<UnixStream> {
    let stream = StdUnixStream::from(stream);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn chunk(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > CHUNK_BYTES_MAX {
        return Err(std::io::Error::other(format!("a chunk of {length} bytes was announced")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn last_word<T: DeserializeOwned>(stream: &mut UnixStream, attempt: &str) -> Result<T, Error> {
    let refused = |reason: String| Error::Layer { attempt: attempt.to_owned(), reason };
    let bytes = chunk(stream).await.map_err(|error| refused(format!("its worker ended early: {error}")))?;
    match serde_json::from_slice(&bytes) {
        Ok(Word::Ok(done)) => Ok(done),
        Ok(Word::Error(reason)) => Err(refused(reason)),
        Err(error) => Err(refused(format!("its worker said something else: {error}"))),
    }
}

fn failed(verb: &str, error: &std::io::Error) -> Error {
    Error::Layer { attempt: format!("{verb} a layer"), reason: error.to_string() }
}
