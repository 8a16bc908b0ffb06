//! Names in an archive, taken apart. What could lead out of the folder, or is no name at all, does not get past here.

use std::ffi::CString;

use super::Error;
use super::OPAQUE;
use super::RESERVED;
use super::WHITEOUT;
use super::shown;

/// A path below the root, without `.`, `..` and empty parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The folder that it is in; empty for the root.
    pub(super) folder: Vec<u8>,
    /// Its last part; `None`: it is the root itself.
    pub(super) last: Option<CString>,
}

/// What an entry of that name is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file, folder or whatever its type says.
    Plain,
    /// This name in its folder was deleted.
    Deleted(CString),
    /// Its folder hides those below.
    Opaque,
    /// Something of another program's.
    Foreign,
}

impl Name {
    /// Takes `path` apart.
    pub(super) fn parse(path: &[u8]) -> Result<Self, Error> {
        let refuse = |complaint| Err(Error::Refused { path: shown(path), complaint });
        if path.is_empty() {
            return refuse("its name is empty");
        }
        if path[0] == b'/' {
            return refuse("its name is absolute");
        }
        if path.contains(&0) {
            return refuse("its name holds a NUL byte");
        }
        let parts = || path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        if parts().any(|part| part == b"..") {
            return refuse("its name leads out of the folder");
        }
        let mut parts: Vec<&[u8]> = parts().collect();
        let last = parts.pop().map(|last| CString::new(last).expect("looked at above"));
        Ok(Self { folder: parts.join(&b'/'), last })
    }

    /// The path again, as short as can be.
    pub(super) fn path(&self) -> Vec<u8> {
        let last = self.last.as_ref().map_or(b".".as_slice(), |last| last.as_bytes());
        if self.folder.is_empty() { last.to_vec() } else { [&self.folder, last].join(&b'/') }
    }

    /// What an entry of this name is for.
    pub(super) fn meaning(&self) -> Result<Meaning, Error> {
        let last = self.last.as_ref().map_or(b"".as_slice(), |last| last.as_bytes());
        let is_marked = |part: &[u8]| part.starts_with(WHITEOUT);
        if self.folder.split(|byte| *byte == b'/').any(is_marked) {
            return Ok(Meaning::Foreign);
        }
        if last == OPAQUE {
            return Ok(Meaning::Opaque);
        }
        if last.starts_with(RESERVED) {
            return Ok(Meaning::Foreign);
        }
        let Some(deleted) = last.strip_prefix(WHITEOUT) else { return Ok(Meaning::Plain) };
        if matches!(deleted, b"" | b"." | b"..") {
            return Err(Error::Refused { path: shown(&self.path()), complaint: "it deletes no name" });
        }
        Ok(Meaning::Deleted(CString::new(deleted).expect("a part of a name without NUL")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(path: &[u8]) -> Result<Meaning, String> {
        Name::parse(path).and_then(|name| name.meaning()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_made_plain_or_refused() {
        let name = Name::parse(b"./a//b/./c/").unwrap();
        assert_eq!((name.folder.as_slice(), name.last.as_deref()), (b"a/b".as_slice(), Some(c"c")));
        assert_eq!(name.path(), b"a/b/c");
        assert_eq!(Name::parse(b"./").unwrap(), Name { folder: Vec::new(), last: None });
        for path in [b"".as_slice(), b"/", b"/etc", b"..", b"a/../b", b"a/..", b"../x", b"a\0b"] {
            assert!(Name::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn marks_are_told_from_files() {
        assert_eq!(meaning(b"a/.wh.b"), Ok(Meaning::Deleted(c"b".to_owned())));
        assert_eq!(meaning(b"a/.wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(meaning(b".wh..wh.plnk/x"), Ok(Meaning::Foreign));
        assert_eq!(meaning(b".wh..wh.aufs"), Ok(Meaning::Foreign));
        assert_eq!(meaning(b"a/.why"), Ok(Meaning::Plain));
        for path in [b"a/.wh.".as_slice(), b".wh..", b".wh..."] {
            assert!(meaning(path).unwrap_err().ends_with("it deletes no name"), "{path:?}");
        }
    }
}
