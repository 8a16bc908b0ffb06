//! Where things are, and with what environment they run.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where things are in the sandbox.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where relative paths start, and each new shell.
    pub workspace: PathBuf,
    /// Home of the shells.
    pub home: PathBuf,
    /// Private folder for what does not fit in a result. Made when it is needed.
    pub scratch: PathBuf,
    /// File that keeps the state of shells from one life of the sandbox to the next.
    pub saved: PathBuf,
    /// Environment of the shells, over what they have anyway.
    pub variables: Vec<(String, String)>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            workspace: "/workspace".into(),
            home: "/root".into(),
            scratch: "/tmp/.journeyman".into(),
            saved: "/var/lib/journeyman/shells.json".into(),
            variables: Vec::new(),
        }
    }
}

impl Place {
    /// The place for `--unconfined FOLDER [NAME=VALUE]...`: a hand without walls, as the tests run it.
    pub fn unconfined(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let folder =
            arguments.next().filter(|argument| argument == "--unconfined").and_then(|_| arguments.next())?;
        let folder = PathBuf::from(folder);
        let variable = |argument: OsString| {
            let text = argument.into_string().ok()?;
            text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        Some(Self {
            workspace: folder.join("workspace"),
            home: folder.join("home"),
            scratch: folder.join("scratch"),
            saved: folder.join("scratch/saved/shells.json"),
            variables: arguments.filter_map(variable).collect(),
        })
    }
}
