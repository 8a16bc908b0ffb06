//! The decompression of a body within bounds: a small input may stand for an output without end.

use std::io;
use std::io::Write;

use bytes::Buf;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Compressed bytes that are decompressed at once: at the format's best they become a thousand times as many.
const STEP_BYTES: usize = 1024;

/// Decompresses a body piece by piece.
#[derive(Debug)]
pub(super) enum Decoder {
    /// It is not compressed.
    Identity,
    /// It is compressed by gzip.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Decoder {
    /// The decoder for a `Content-Encoding`; `None` for one that is not known.
    pub(super) fn new(encoding: &str) -> Option<Self> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
            _ => None,
        }
    }

    /// Takes some of `input` off its beginning and returns what it stands for.
    pub(super) fn step(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        let decoder = match self {
            Self::Identity => return Ok(input.split_to(input.len())),
            Self::Gzip(decoder) => decoder,
        };
        let taken = decoder.write(&input[..input.len().min(STEP_BYTES)])?;
        input.advance(taken);
        // What the decoder holds back would wait for the next event of a stream.
        decoder.flush()?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }

    /// Returns what is left at the end of the body.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Identity => Ok(Bytes::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}
