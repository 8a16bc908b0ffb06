//! A connection and what has been read of it but not used yet.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;

use crate::limits::CLOSING_BYTES_MAX;
use crate::limits::CLOSING_TIME_MAX;

/// Bytes that are asked for at once while a message is awaited.
const READ_BYTES: usize = 16 * 1024;

/// A connection with a buffer for what comes from it.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

impl Buffered {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Answers are small and awaited; an error here would show at the next use.
        drop(stream.set_nodelay(true));
        Self { stream, buffer: Vec::new() }
    }

    /// Reads more within `limit`; an error at the end of the connection.
    pub(super) async fn fill(&mut self, limit: Duration) -> io::Result<()> {
        let (mut reader, _) = self.stream.split();
        fill(&mut reader, &mut self.buffer, limit).await
    }

    /// Takes `count` bytes off the buffer's beginning.
    pub(super) fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
    }

    /// Sends the last bytes of a connection, and reads for a moment what still comes, so that the client sees them
    /// instead of a reset.
    pub(super) async fn close_with(&mut self, bytes: &[u8]) {
        let parting = async {
            self.stream.write_all(bytes).await?;
            self.stream.shutdown().await?;
            let mut scratch = vec![0; READ_BYTES];
            let mut seen = 0;
            while seen < CLOSING_BYTES_MAX {
                match self.stream.read(&mut scratch).await? {
                    0 => break,
                    count => seen += count,
                }
            }
            io::Result::Ok(())
        };
        // Whoever has gone needs no close_with.
        drop(timeout(CLOSING_TIME_MAX, parting).await);
    }
}

/// Reads more into `buffer` within `limit`; an error at the end of the connection.
pub(super) async fn fill(reader: &mut ReadHalf<'_>, buffer: &mut Vec<u8>, limit: Duration) -> io::Result<()> {
    buffer.reserve(READ_BYTES);
    match timeout(limit, reader.read_buf(buffer)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
