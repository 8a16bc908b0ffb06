//! An archive of an image: a tar file of which the places of the files are known, which are then read by name.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Error;
use super::tar;
use super::tar::Entry;
use super::tar::Kind;

/// Files of an archive of images: some for each layer.
const FILES_MAX: usize = 20_000;
/// Links from a name to its file.
const LINKS_MAX: usize = 8;
/// Folders that a root file system has at its top, and an archive of images does not.
const ROOT: [&str; 22] = [
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// The files of an archive.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) file: File,
    entries: HashMap<String, Kind>,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What is in a tar.
#[derive(Debug)]
pub(super) enum Contents {
    /// Images: `index.json` or `manifest.json` is among the files.
    Images(HashMap<String, Kind>),
    /// Anything else: taken for a root file system.
    Root,
}

/// A file, passed over by seeking.
struct Whole<'a> {
    file: &'a File,
    bytes: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl tar::Input for Whole<'_> {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let way = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        let at = self.file.seek(SeekFrom::Current(way))?;
        if at > self.bytes.saturating_add(511) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it ends early"));
        }
        Ok(())
    }
}

/// Looks through a tar file that is not compressed.
pub(super) fn look_into(file: &File) -> io::Result<Contents> {
    file.rewind_whole()?;
    let bytes = file.metadata()?.len();
    look(&mut Whole { file, bytes })
}

trait Rewind {
    fn rewind_whole(&self) -> io::Result<()>;
}

impl Rewind for File {
    fn rewind_whole(&self) -> io::Result<()> {
        let mut file = self;
        file.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// Looks through a tar.
pub(super) fn look(input: &mut dyn tar::Input) -> io::Result<Contents> {
    let mut entries = HashMap::new();
    let mut is_root = false;
    tar::scan(input, &mut |Entry { name, kind }| {
        let top = name.split('/').next().unwrap_or_default();
        if ROOT.contains(&top) || entries.len() >= FILES_MAX {
            is_root = true;
            return Ok(ControlFlow::Break(()));
        }
        if kind != Kind::Other && entries.insert(name, kind).is_some() {
            // Who reads the first and who the last would see different images.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "two entries have the same name"));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let is_file = |name: &str| matches!(entries.get(name), Some(Kind::File { .. }));
    let has_images = is_file("index.json") || is_file("manifest.json");
    Ok(if has_images && !is_root { Contents::Images(entries) } else { Contents::Root })
}

impl Archive {
    pub(super) fn new(file: File, entries: HashMap<String, Kind>) -> Self {
        Self { file, entries }
    }

    /// Where the file of that name is.
    pub(super) fn find(&self, name: &str) -> Result<Place, Error> {
        let mut name = name.trim_start_matches("./").to_owned();
        for _ in 0..LINKS_MAX {
            name = match self.entries.get(&name) {
                Some(Kind::File { offset, bytes }) => return Ok(Place { offset: *offset, bytes: *bytes }),
                Some(Kind::HardLink(target)) => target.trim_start_matches("./").to_owned(),
                Some(Kind::Link(target)) => follow(&name, target),
                Some(Kind::Other) | None => break,
            };
        }
        Err(Error::malformed("archive", format!("there is no file {name:?} in it")))
    }

    /// A small file.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let Place { offset, bytes } = self.find(name)?;
        if bytes > bytes_max {
            return Err(Error::malformed(name, format!("it is larger than {bytes_max} bytes")));
        }
        let mut content = vec![0; usize::try_from(bytes).expect("bounded above")];
        let read = self.file.read_exact_at(&mut content, offset);
        read.map_err(Error::file("read the archive", Path::new(name)))?;
        Ok(content)
    }
}

/// The name that a link leads to, from the top of the archive. It cannot lead out: it is only looked up.
fn follow(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
