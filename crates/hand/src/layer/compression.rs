//! What an archive is compressed with, told by its first bytes.

use std::io;
use std::io::BufReader;
use std::io::Cursor;
use std::io::Read;
use std::io::Write;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

/// Fast; a layer is written far more often than it is read, and is mostly bound by the processor.
const LEVEL: i32 = 1;
/// Threads that compress beside the one that reads the files.
const THREADS: u32 = 2;
/// Logarithm of the most that has to be looked back at to decompress: 128 MiB of memory.
const WINDOW_LOG_MAX: u32 = 27;
const BUFFER_BYTES: usize = 128 << 10;

/// Compresses onto `output`. To be finished.
pub(super) fn compress<W: Write>(output: W) -> io::Result<Encoder<'static, W>> {
    let mut encoder = Encoder::new(output, LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.multithread(THREADS)?;
    Ok(encoder)
}

/// Decompresses `input` if it is compressed.
pub(super) fn decompress<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    (&mut input).take(4).read_to_end(&mut head)?;
    let kind = head.clone();
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
    match kind.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(whole))),
        // A frame, or one to be skipped, which some programs begin with.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut decoder = Decoder::with_buffer(whole)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Ok(Box::new(decoder))
        }
        _ => Ok(Box::new(whole)),
    }
}
