//! A tree into an archive.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;

use rustix::fs::OFlags;

use super::Attempt;
use super::Error;
use super::OPAQUE;
use super::OPAQUE_ATTRIBUTE;
use super::Packed;
use super::WHITEOUT;
use super::archive;
use super::archive::BLOCK_BYTES;
use super::archive::Entry;
use super::archive::EntryKind;
use super::compression;
use super::extents;
use super::extents::Extent;
use super::extents::Found;
use super::shown;
use super::sys;
use super::sys::Kind;
use super::sys::Status;
use super::sys::Time;
use super::walk::Walk;
use super::walk::is_reachable;

/// Name and value of an extended attribute.
type Attribute = (CString, Vec<u8>);

const COPY_BYTES: usize = 256 << 10;
/// Files smaller than this are not searched for holes.
const SPARSE_BYTES_MIN: u64 = 64 << 10;

/// Packs the folder `root`, the upper one of an overlay that nobody writes to meanwhile, onto `output`.
pub fn pack(root: &File, output: impl Write) -> Result<Packed, Error> {
    let compressed = compression::compress(output).map_err(Error::Output)?;
    let mut packer = Packer {
        output: compressed,
        done: Packed::default(),
        linked: HashMap::new(),
        chunk: vec![0; COPY_BYTES],
    };
    packer.tree(root)?;
    archive::end(&mut packer.output).map_err(Error::Output)?;
    packer.done.bytes += 2 * BLOCK_BYTES as u64;
    packer.output.finish().and_then(|mut output| output.flush()).map_err(Error::Output)?;
    Ok(packer.done)
}

struct Packer<W: Write> {
    output: W,
    done: Packed,
    /// Where a file with several names was packed.
    linked: HashMap<(u64, u64), Vec<u8>>,
    chunk: Vec<u8>,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, root: &File) -> Result<(), Error> {
        let status = sys::status_of(root).attempt("look at", b".")?;
        self.folder(root, b".", &status)?;
        let mut walk = Walk::new(root)?;
        while let Some(step) = walk.next()? {
            let (name, path) = (step.name, step.path);
            if let Some(folder) = self.file(step.folder, &name, &path)? {
                walk.enter(folder, &path)?;
            }
        }
        Ok(())
    }

    /// Packs what `name` is. A folder is answered, to be walked.
    fn file(&mut self, folder: &File, name: &CStr, path: &[u8]) -> Result<Option<File>, Error> {
        let status = sys::status(folder, name).attempt("look at", path)?;
        // In an archive such a name means something else.
        if name.to_bytes().starts_with(WHITEOUT) || !is_reachable(path) {
            self.done.skipped += 1;
            return Ok(None);
        }
        match status.kind {
            Kind::Folder => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let open = sys::open(folder, name, flags, 0).attempt("open", path)?;
                self.folder(&open, path, &status)?;
                return Ok(Some(open));
            }
            Kind::File => self.regular(folder, name, path)?,
            Kind::Link => {
                let target = sys::link_target(folder, name).attempt("read", path)?;
                self.plain(path, EntryKind::Link(target), &status)?;
            }
            Kind::Pipe => self.plain(path, EntryKind::Pipe, &status)?,
            Kind::Whiteout => {
                let at = path.len() - name.to_bytes().len();
                let marked = [&path[..at], WHITEOUT, name.to_bytes()].concat();
                self.mark(&marked)?;
            }
            Kind::Other => self.done.skipped += 1,
        }
        Ok(None)
    }

    fn folder(&mut self, folder: &File, path: &[u8], status: &Status) -> Result<(), Error> {
        let (attributes, is_opaque) = attributes(folder).attempt("read the attributes of", path)?;
        let mut named = path.to_vec();
        named.push(b'/');
        self.entry(&entry(&named, EntryKind::Folder, status, attributes))?;
        if is_opaque {
            // Before everything else in the folder, for those who apply one entry after the other.
            named.extend_from_slice(OPAQUE);
            let named = named.strip_prefix(b"./").unwrap_or(&named);
            self.mark(named)?;
        }
        Ok(())
    }

    fn regular(&mut self, folder: &File, name: &CStr, path: &[u8]) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let mut file = sys::open(folder, name, flags, 0).attempt("open", path)?;
        let status = sys::status_of(&file).attempt("look at", path)?;
        if status.has_other_names {
            if let Some(first) = self.linked.get(&status.identity) {
                let kind = EntryKind::HardLink(first.clone());
                return self.plain(path, kind, &status);
            }
            self.linked.insert(status.identity, path.to_vec());
        }
        let (attributes, _) = attributes(&file).attempt("read the attributes of", path)?;
        let may_have_holes = status.bytes >= SPARSE_BYTES_MIN && status.stored_bytes < status.bytes;
        let found = if may_have_holes {
            extents::find(&file, status.bytes).attempt("find the holes of", path)?
        } else {
            Found::Whole
        };
        match found {
            Found::Whole => {
                let kind = EntryKind::File { stored: status.bytes, sparse: None };
                self.entry(&entry(path, kind, &status, attributes))?;
                file.rewind().attempt("read", path)?;
                self.data(&mut file, status.bytes, path)?;
                self.pad(status.bytes)
            }
            Found::Pieces(pieces) => self.sparse(&mut file, path, &status, attributes, &pieces),
            Found::TooMany => {
                let source = io::Error::other(format!("it has more than {} holes", extents::EXTENTS_MAX));
                Err(Error::File { attempt: "pack", path: shown(path), source })
            }
        }
    }

    fn sparse(
        &mut self,
        file: &mut File,
        path: &[u8],
        status: &Status,
        attributes: Vec<Attribute>,
        pieces: &[Extent],
    ) -> Result<(), Error> {
        let map = extents::map(pieces, status.bytes);
        let data: u64 = pieces.iter().map(|(_, length)| length).sum();
        let stored = map.len() as u64 + data;
        let kind = EntryKind::File { stored, sparse: Some(status.bytes) };
        self.entry(&entry(path, kind, status, attributes))?;
        self.put(&map)?;
        for (start, length) in pieces {
            file.seek(SeekFrom::Start(*start)).attempt("read", path)?;
            self.data(file, *length, path)?;
        }
        self.pad(stored)
    }

    /// Copies exactly `bytes`, which were announced: a file that has become shorter is filled up.
    fn data(&mut self, file: &mut File, bytes: u64, path: &[u8]) -> Result<(), Error> {
        let mut left = bytes;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            let count = match file.read(&mut self.chunk[..want]) {
                Ok(0) => {
                    self.chunk[..want].fill(0);
                    want
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(source).attempt("read", path),
            };
            self.output.write_all(&self.chunk[..count]).map_err(Error::Output)?;
            left -= count as u64;
        }
        self.done.bytes += bytes;
        Ok(())
    }

    fn pad(&mut self, bytes: u64) -> Result<(), Error> {
        let block = BLOCK_BYTES as u64;
        let padding = usize::try_from(bytes.next_multiple_of(block) - bytes).expect("less than a block");
        self.put(&[0; BLOCK_BYTES][..padding])
    }

    /// An entry without data and attributes.
    fn plain(&mut self, path: &[u8], kind: EntryKind, status: &Status) -> Result<(), Error> {
        self.entry(&entry(path, kind, status, Vec::new()))
    }

    /// An empty file whose name says everything.
    fn mark(&mut self, path: &[u8]) -> Result<(), Error> {
        self.entry(&Entry {
            path: path.to_vec(),
            kind: EntryKind::File { stored: 0, sparse: None },
            mode: 0o600,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            attributes: Vec::new(),
        })
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.done.entries += 1;
        self.put(&archive::headers(entry))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.done.bytes += bytes.len() as u64;
        self.output.write_all(bytes).map_err(Error::Output)
    }
}

fn entry(path: &[u8], kind: EntryKind, status: &Status, attributes: Vec<Attribute>) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: status.mode,
        uid: status.uid.into(),
        gid: status.gid.into(),
        modified: status.modified,
        attributes,
    }
}

/// The attributes that users set, and whether the overlay marked the folder as opaque. What belongs to the overlay or to
/// the machine stays behind, and names with `=`, which an archive cannot hold.
fn attributes(file: &File) -> io::Result<(Vec<Attribute>, bool)> {
    let mut kept = Vec::new();
    let mut is_opaque = false;
    for name in sys::attribute_names(file)? {
        let bytes = name.as_bytes();
        if bytes == OPAQUE_ATTRIBUTE {
            is_opaque = sys::attribute(file, &name)? == b"y";
        } else if super::is_users(bytes) && !bytes.contains(&b'=') {
            let value = sys::attribute(file, &name)?;
            kept.push((name, value));
        }
    }
    Ok((kept, is_opaque))
}
