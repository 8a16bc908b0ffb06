//! What a file or folder holds, told by its contents: an OCI layout, an archive of `docker save`, or the tar of a root
//! file system.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::Error;
use super::archive;
use super::archive::Archive;
use super::archive::Contents;
use super::tar::Input;

/// Logarithm of the most that has to be looked back at to decompress.
const WINDOW_LOG_MAX: u32 = 27;
/// Largest archive, not compressed.
const ARCHIVE_BYTES_MAX: u64 = 64 << 30;

/// What was found.
#[derive(Debug)]
pub(super) enum Format {
    /// A folder in the form of an OCI layout.
    Folder(PathBuf),
    /// The same as an archive.
    Layout(Arc<Archive>),
    /// An archive of `docker save`.
    Saved(Arc<Archive>),
    /// The tar of a root file system, as it is.
    Root(Arc<File>),
}

/// Looks at `path`. An archive of images that is compressed is put into a nameless file in `scratch` to be read.
pub(super) fn tell(path: &Path, scratch: &Path) -> Result<Format, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::file("look at", path))?;
    if metadata.is_dir() {
        let has_index = path.join("index.json").is_file();
        let reason =
            || format!("the folder {} has no index.json, so it is no OCI image layout", path.display());
        return if has_index {
            Ok(Format::Folder(path.to_path_buf()))
        } else {
            Err(Error::refused(reason()))
        };
    }
    if !metadata.is_file() {
        return Err(Error::refused(format!("{} is no file and no folder", path.display())));
    }
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let read = Error::file("read the archive", path);
    let contents = match decompressed(&file).and_then(|decoder| match decoder {
        None => Ok((archive::look_into(&file)?, None)),
        Some(mut decoder) => Ok((archive::look(&mut decoder)?, Some(()))),
    }) {
        Ok(contents) => contents,
        Err(error) => return Err(read(error)),
    };
    let (entries, file) = match contents {
        (Contents::Root, _) => return Ok(Format::Root(Arc::new(file))),
        (Contents::Images(entries), None) => (entries, file),
        (Contents::Images(entries), Some(())) => {
            file.rewind().map_err(Error::file("read the archive", path))?;
            let whole = decompress(&file, scratch).map_err(Error::file("decompress the archive", path))?;
            (entries, whole)
        }
    };
    let has_index = entries.contains_key("index.json");
    let archive = Arc::new(Archive::new(file, entries));
    Ok(if has_index { Format::Layout(archive) } else { Format::Saved(archive) })
}

/// A stream that is read on to pass over something, up to a bound.
struct Stream<'a> {
    input: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(count)
    }
}

impl Input for Stream<'_> {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.take(bytes), &mut io::sink())?;
        if passed < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// The decompressed bytes of a file that is at its beginning; `None` when it is not compressed.
fn decompressed(file: &File) -> io::Result<Option<Stream<'_>>> {
    let mut head = [0; 4];
    let count = file.read_at(&mut head, 0)?;
    let whole = BufReader::with_capacity(128 << 10, file);
    let input: Box<dyn Read + '_> = match &head[..count] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        // A frame, or one to be skipped, which some programs begin with.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut decoder = Decoder::with_buffer(whole)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        _ => return Ok(None),
    };
    Ok(Some(Stream { input, left: ARCHIVE_BYTES_MAX }))
}

fn decompress(file: &File, scratch: &Path) -> io::Result<File> {
    let mut input = decompressed(file)?.ok_or(io::ErrorKind::InvalidData)?;
    let path = scratch.join(format!(".archive-{}", std::process::id()));
    let mut whole = File::options().read(true).write(true).create_new(true).open(&path)?;
    // Without a name it goes away with this process, however that ends.
    std::fs::remove_file(&path)?;
    io::copy(&mut input, &mut whole)?;
    whole.flush()?;
    Ok(whole)
}
