//! How an archive travels over a stream socket: in chunks, each a little-endian `u32` of length and that many bytes. An
//! empty chunk ends it. Whoever does the work then says in one more chunk of JSON how it went, `{"ok": …}` or
//! `{"error": "…"}`; a stream that ends without that was cut off.

use std::io;
use std::io::Read;
use std::io::Write;

use serde::Serialize;

/// Bytes collected before they are sent.
const CHUNK_BYTES: usize = 256 << 10;
/// Largest chunk that is taken.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// How the work went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word<T> {
    /// Well.
    Ok(T),
    /// Not at all.
    Error(String),
}

/// Sends an archive.
pub(super) struct Sender<W> {
    output: W,
    chunk: Vec<u8>,
}

impl<W: Write> Sender<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, chunk: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// Sends what was collected, and the end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.output.write_all(&0_u32.to_le_bytes())
    }
}

impl<W: Write> Write for Sender<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            send(&mut self.output, &self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }
}

/// Receives an archive.
pub(super) struct Receiver<R> {
    input: R,
    /// Bytes of the current chunk that were not read yet.
    left: usize,
    is_over: bool,
}

impl<R: Read> Receiver<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, left: 0, is_over: false }
    }

    /// Takes in what the other side still sends, so that it can come to its end and hear how it went.
    pub(super) fn drain(mut self) {
        drop(io::copy(&mut self, &mut io::sink()));
    }
}

impl<R: Read> Read for Receiver<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_over {
            let mut length = [0; 4];
            self.input.read_exact(&mut length)?;
            self.left = u32::from_le_bytes(length) as usize;
            self.is_over = self.left == 0;
            if self.left > CHUNK_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if self.is_over || buffer.is_empty() {
            return Ok(0);
        }
        let want = self.left.min(buffer.len());
        let count = self.input.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }
}

/// Says how it went.
pub(super) fn tell<T: Serialize>(output: &mut impl Write, word: &Word<T>) -> io::Result<()> {
    send(output, &serde_json::to_vec(word)?)
}

fn send(output: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_arrives_as_it_was_sent_or_not_at_all() {
        let sent: Vec<u8> = (0..700_000_u32).flat_map(|number| number.to_le_bytes()[..1].to_vec()).collect();
        let mut wire = Vec::new();
        let mut sender = Sender::new(&mut wire);
        sender.write_all(&sent).unwrap();
        sender.finish().unwrap();
        let mut received = Vec::new();
        Receiver::new(wire.as_slice()).read_to_end(&mut received).unwrap();
        assert!(received == sent);
        for cut in [0, 3, 100, wire.len() - 1] {
            let error = Receiver::new(&wire[..cut]).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(Receiver::new([0xff_u8; 8].as_slice()).read_to_end(&mut Vec::new()).is_err());
    }
}
