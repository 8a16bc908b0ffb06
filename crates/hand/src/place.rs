//! Where things are, and with what environment they run.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

/// The program of the shells.
pub(crate) const SHELL: &str = "/bin/bash";

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
    /// Environment of whatever is started here.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        let usual = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ref()),
            ("HOME", self.home.as_os_str()),
            ("USER", "root".as_ref()),
            ("LOGNAME", "root".as_ref()),
            ("SHELL", SHELL.as_ref()),
            ("LANG", "C.UTF-8".as_ref()),
            ("TERM", "dumb".as_ref()),
            ("PAGER", "cat".as_ref()),
            ("GIT_PAGER", "cat".as_ref()),
            ("DEBIAN_FRONTEND", "noninteractive".as_ref()),
            ("PYTHONUNBUFFERED", "1".as_ref()),
        ];
        let own = self.variables.iter().map(|(name, value)| (name.as_str(), OsStr::new(value)));
        usual.into_iter().chain(own)
    }

    /// Where programs start, when there is such a folder.
    pub(crate) fn folder(&self) -> &Path {
        if self.workspace.is_dir() { &self.workspace } else { Path::new("/") }
    }

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
