//! A part of a regular file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Attempt;
use super::facts;
use crate::protocol::operation::Failure;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::Part;
use crate::protocol::operation::READ_BYTES_MAX;
use crate::protocol::operation::ReadFile;

/// Reads it.
pub(super) fn run(request: &ReadFile, path: &Path, attempt: &Attempt<'_>) -> Result<Part, Failure> {
    let ReadFile { path: _, offset, bytes_max } = *request;
    if bytes_max > READ_BYTES_MAX {
        let reason = format!("{bytes_max} bytes at once, over {READ_BYTES_MAX}");
        return Err(attempt.failure(FailureKind::Invalid, &reason));
    }
    let irregular = || attempt.failure(FailureKind::WrongKind, "not a regular file");
    // Without O_NONBLOCK the opening of a named pipe waits for a writer; what it is shows only once it is open.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(irregular()),
        opened => opened.map_err(|error| attempt.failed(&error))?,
    };
    let metadata = file.metadata().map_err(|error| attempt.failed(&error))?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    let (bytes, is_end) = fill(&file, offset, bytes_max as usize).map_err(|error| attempt.failed(&error))?;
    // Files of /proc say that they are empty, whatever they hold: their end is where nothing more comes.
    let is_last = is_end || offset.saturating_add(bytes.len() as u64) == metadata.len();
    Ok(Part { metadata: facts(&metadata), bytes, is_last })
}

/// The bytes from `offset` on, and whether the file ends before there are `most` of them.
fn fill(file: &File, offset: u64, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = vec![0; most];
    let mut length = 0;
    while length < most {
        match file.read_at(&mut bytes[length..], offset.saturating_add(length as u64)) {
            Ok(0) => {
                bytes.truncate(length);
                return Ok((bytes, true));
            }
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, false))
}
