//! An archive into a tree.
//!
//! The folder of an entry is resolved as if `root` were the root of everything, whatever links the archive has made before;
//! its own name is always made anew and never followed.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use super::Attempt;
use super::Error;
use super::Limits;
use super::OPAQUE_ATTRIBUTE;
use super::Unpacked;
use super::archive::Entry;
use super::archive::EntryKind;
use super::archive::Reader;
use super::compression;
use super::extents::Extent;
use super::extents::Parser;
use super::is_users;
use super::name::Meaning;
use super::name::Name;
use super::shown;
use super::sys;
use super::sys::Kind;
use super::sys::Time;

const COPY_BYTES: usize = 256 << 10;
/// Bytes of the paths of folders whose times are to be set at the end. Beyond it they are set at once, and change again if
/// something more is put into them.
const TIMES_BYTES_MAX: usize = 16 << 20;

/// Unpacks the archive `input`, compressed or not, into the folder `root`, which nobody else writes to meanwhile.
pub fn unpack(root: &File, input: impl Read, limits: &Limits) -> Result<Unpacked, Error> {
    let input = compression::decompress(input).map_err(|source| Error::Input { path: shown(b""), source })?;
    let mut reader = Reader::new(input, *limits);
    let mut unpacker = Unpacker {
        root,
        folder: None,
        times: Vec::new(),
        times_bytes: 0,
        done: Unpacked::default(),
        chunk: vec![0; COPY_BYTES],
    };
    while let Some(entry) = reader.next()? {
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.set_times();
    Ok(Unpacked { entries: reader.entries, bytes: reader.bytes, ..unpacker.done })
}

struct Unpacker<'a> {
    root: &'a File,
    /// The folder of the last entry, and its path.
    folder: Option<(Vec<u8>, File)>,
    /// Folders in the order in which they came, and when they were changed last.
    times: Vec<(CString, Time)>,
    times_bytes: usize,
    done: Unpacked,
    chunk: Vec<u8>,
}

/// What stood where an entry is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// The mark of a deleted name; it was removed.
    Whiteout,
    /// A folder, which stays.
    Folder,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<(), Error> {
        let name = Name::parse(&entry.path)?;
        let meaning = name.meaning()?;
        let Some(last) = &name.last else {
            return if entry.kind == EntryKind::Folder {
                let root = self.root.try_clone().attempt("open", b".")?;
                self.finish_folder(&root, entry, &name)
            } else {
                Err(Error::Refused { path: shown(&entry.path), complaint: "only a folder can be the root" })
            };
        };
        match meaning {
            Meaning::Plain => {}
            Meaning::Foreign => {
                self.done.skipped += 1;
                return Ok(());
            }
            Meaning::Deleted(deleted) => return self.delete(&name, &deleted),
            Meaning::Opaque => {
                let folder = self.enter(&name.folder)?;
                return make_opaque(&folder, &entry.path);
            }
        }
        if entry.kind == EntryKind::Device {
            self.done.skipped += 1;
            return Ok(());
        }
        let folder = self.enter(&name.folder)?;
        match &entry.kind {
            EntryKind::Folder => self.make_folder(&folder, last, entry, &name),
            EntryKind::File { stored: _, sparse } => self.make_file(&folder, last, entry, *sparse, reader),
            EntryKind::HardLink(target) => self.make_hard_link(&folder, last, target, &entry.path),
            EntryKind::Link(target) => {
                let c_target =
                    CString::new(target.as_slice()).map_err(|_| io::ErrorKind::InvalidInput.into());
                self.make(&folder, last, &entry.path, |folder, name| {
                    sys::make_link(folder, name, c_target.as_ref().map_err(|error: &io::Error| error.kind())?)
                })?;
                self.own(sys::set_owner(&folder, last, id(entry.uid), id(entry.gid)), entry)?;
                sys::set_time(&folder, last, entry.modified).attempt("set the time of", &entry.path)
            }
            EntryKind::Pipe => {
                self.make(&folder, last, &entry.path, sys::make_pipe)?;
                let mode = self.own(sys::set_owner(&folder, last, id(entry.uid), id(entry.gid)), entry)?;
                sys::set_pipe_mode(&folder, last, mode).attempt("set the mode of", &entry.path)?;
                sys::set_time(&folder, last, entry.modified).attempt("set the time of", &entry.path)
            }
            EntryKind::Device => Ok(()),
        }
    }

    /// The folder at `path`, made as far as it is missing. Links in it lead nowhere outside of the root.
    fn enter(&mut self, path: &[u8]) -> Result<File, Error> {
        if let Some((entered, folder)) = &self.folder
            && entered == path
        {
            return folder.try_clone().attempt("open", path);
        }
        let folder = match open_folder(self.root, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_folders(path)?,
            opened => opened.attempt("open the folder", path)?,
        };
        let own = folder.try_clone().attempt("open", path)?;
        self.folder = Some((path.to_vec(), own));
        Ok(folder)
    }

    fn make_folders(&self, path: &[u8]) -> Result<File, Error> {
        let mut above = self.root.try_clone().attempt("open", path)?;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut start = 0;
        for end in ends.chain([path.len()]) {
            above = match open_folder(self.root, &path[..end]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = c_string(&path[start..end]);
                    sys::make_folder(&above, &name, 0o755).attempt("make the folder", path)?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let made = sys::open(&above, &name, flags, 0).attempt("open the folder", path)?;
                    sys::set_mode(&made, 0o755).attempt("set the mode of", path)?;
                    made
                }
                opened => opened.attempt("open the folder", path)?,
            };
            start = end + 1;
        }
        Ok(above)
    }

    /// Makes way for an entry.
    fn clear(&mut self, folder: &File, name: &CStr, for_folder: bool, path: &[u8]) -> Result<Before, Error> {
        let kind = match sys::status(folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Before::Nothing),
            status => status.attempt("look at", path)?.kind,
        };
        if kind == Kind::Folder && for_folder {
            return Ok(Before::Folder);
        }
        // What was resolved before may lead elsewhere from now on.
        self.folder = None;
        sys::remove(folder, name, kind == Kind::Folder).attempt("replace", path)?;
        Ok(if kind == Kind::Whiteout { Before::Whiteout } else { Before::Nothing })
    }

    /// Makes something that is no folder.
    fn make<T>(
        &mut self,
        folder: &File,
        name: &CStr,
        path: &[u8],
        make: impl Fn(&File, &CStr) -> io::Result<T>,
    ) -> Result<T, Error> {
        match make(folder, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(folder, name, false, path)?;
                make(folder, name).attempt("make", path)
            }
            made => made.attempt("make", path),
        }
    }

    fn make_folder(&mut self, folder: &File, last: &CStr, entry: &Entry, name: &Name) -> Result<(), Error> {
        let before = self.clear(folder, last, true, &entry.path)?;
        if before != Before::Folder {
            sys::make_folder(folder, last, 0o700).attempt("make the folder", &entry.path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let made = sys::open(folder, last, flags, 0).attempt("open the folder", &entry.path)?;
        if before == Before::Whiteout {
            // Deleted and made again: it is another folder than the one below.
            make_opaque(&made, &entry.path)?;
        }
        self.finish_folder(&made, entry, name)
    }

    fn finish_folder(&mut self, folder: &File, entry: &Entry, name: &Name) -> Result<(), Error> {
        self.finish(folder, entry)?;
        let path = c_string(&name.path());
        self.times_bytes += path.as_bytes().len();
        self.times.push((path, entry.modified));
        if self.times_bytes > TIMES_BYTES_MAX {
            self.set_times();
        }
        Ok(())
    }

    fn make_file(
        &mut self,
        folder: &File,
        last: &CStr,
        entry: &Entry,
        sparse: Option<u64>,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file =
            self.make(folder, last, &entry.path, |folder, name| sys::open(folder, name, flags, 0o600))?;
        match sparse {
            None => {
                let pieces = [(0, reader.left())];
                self.fill(&file, &pieces, &entry.path, reader)?;
            }
            Some(bytes) => {
                let mut parser = Parser::default();
                let broken = "the map of a file with holes is broken";
                while !parser.push(&reader.read_block()?, bytes).ok_or_else(|| reader.malformed(broken))? {}
                let pieces = parser.finish();
                if pieces.iter().map(|(_, length)| length).sum::<u64>() != reader.left() {
                    return Err(reader.malformed(broken));
                }
                file.set_len(bytes).attempt("make", &entry.path)?;
                self.fill(&file, &pieces, &entry.path, reader)?;
            }
        }
        self.finish(&file, entry)?;
        sys::set_time_of(&file, entry.modified).attempt("set the time of", &entry.path)
    }

    fn fill(
        &mut self,
        file: &File,
        pieces: &[Extent],
        path: &[u8],
        reader: &mut Reader<impl Read>,
    ) -> Result<(), Error> {
        for (start, length) in pieces {
            let mut at = *start;
            let end = start + length;
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.chunk.len());
                let count = reader.read(&mut self.chunk[..want])?;
                file.write_all_at(&self.chunk[..count], at).attempt("write", path)?;
                at += count as u64;
            }
        }
        Ok(())
    }

    fn make_hard_link(
        &mut self,
        folder: &File,
        last: &CStr,
        target: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let target = Name::parse(target)?;
        let refused = |complaint| Error::Refused { path: shown(path), complaint };
        let Some(target_last) = &target.last else { return Err(refused("it is a link to a folder")) };
        let target_folder =
            open_folder(self.root, &target.folder).attempt("find the file of the link", path)?;
        let status = sys::status(&target_folder, target_last).attempt("find the file of the link", path)?;
        if status.kind != Kind::File {
            return Err(refused("it is a link to something that is no file"));
        }
        self.make(folder, last, path, |folder, last| {
            sys::make_hard_link((&target_folder, target_last), (folder, last))
        })
    }

    fn delete(&mut self, name: &Name, deleted: &CStr) -> Result<(), Error> {
        let path = name.path();
        let folder = self.enter(&name.folder)?;
        match sys::make_whiteout(&folder, deleted) {
            // What this archive has made stays; only what is below is deleted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if sys::status(&folder, deleted).attempt("look at", &path)?.kind == Kind::Folder {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let made = sys::open(&folder, deleted, flags, 0).attempt("open the folder", &path)?;
                    make_opaque(&made, &path)?;
                }
                Ok(())
            }
            made => made.attempt("make", &path),
        }
    }

    /// Owner, permissions and attributes of something that is open.
    fn finish(&mut self, file: &File, entry: &Entry) -> Result<(), Error> {
        let mode = self.own(sys::set_owner(file, c"", id(entry.uid), id(entry.gid)), entry)?;
        for (name, value) in &entry.attributes {
            if is_users(name.as_bytes()) {
                sys::set_attribute(file, name, value).attempt("set an attribute of", &entry.path)?;
            }
        }
        sys::set_mode(file, mode).attempt("set the mode of", &entry.path)
    }

    /// Takes note of how giving away an entry went; answers the permissions that it may have.
    fn own(&mut self, given: io::Result<()>, entry: &Entry) -> Result<u32, Error> {
        match given {
            Ok(()) => Ok(entry.mode),
            // Ids that mean nothing here. What runs as its owner was not meant to run as us.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {
                self.done.unowned += 1;
                Ok(entry.mode & 0o1777)
            }
            Err(source) => Err(source).attempt("give away", &entry.path),
        }
    }

    /// Sets the times of the folders, which changed with every name in them. Innermost first does not matter: setting a time
    /// changes nothing above. One that was replaced meanwhile has none.
    fn set_times(&mut self) {
        for (path, time) in self.times.drain(..) {
            if let Ok(folder) = sys::open_plain_folder(self.root, &path) {
                drop(sys::set_time_of(&folder, time));
            }
        }
        self.times_bytes = 0;
    }
}

fn open_folder(root: &File, path: &[u8]) -> io::Result<File> {
    if path.is_empty() { root.try_clone() } else { sys::open_folder(root, &c_string(path)) }
}

fn make_opaque(folder: &File, path: &[u8]) -> Result<(), Error> {
    let attribute = c_string(OPAQUE_ATTRIBUTE);
    sys::set_attribute(folder, &attribute, b"y").attempt("hide what is below", path)
}

/// The id for the system; one that is none does not exist on any machine.
fn id(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX - 1)
}

fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("names with NUL do not get past their parser")
}
