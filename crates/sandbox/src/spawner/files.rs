//! The files of the spawner in the data folder, and the removal of what sessions leave.
//!
//! ```text
//! base/           the root file system of host mode, rebuilt at every start
//! stage/          empty folders that every sandbox mounts on, each in a namespace of its own
//! sandboxes/ID/   what a session wrote (upper, work, mounts) and what it was given (uploads, shown)
//! layers/NAME/    what sandboxes stand on: package layers, images; never changed once they are there
//! incoming/       layers and files that are being unpacked
//! prepared/spare/ the folders of a sandbox that is ready for the next session without files
//! trash/          what is being removed
//! ```
//! Only the spawner's user can enter these folders: files inside carry the owners and set-user-id bits that a session gave
//! them. A session's tree is hostile: any depth, any names, folders without permissions.

use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use api::ids::SessionId;

use super::base;
use super::given::MOUNTS;
use super::volume::DISK;
use super::volume::IMAGE;
use crate::LayerName;
use crate::Place;
use crate::wire::NAMES_MAX;

/// What a session wrote, by the names that it may have in its folder. The rest is what it was given.
const WRITTEN: [&str; 5] = ["upper", "work", MOUNTS, DISK, IMAGE];

/// How deep a removal goes before it moves a folder up; each level holds a descriptor.
const DEPTH_MAX: usize = 64;

/// Where things are in the data folder.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) base: PathBuf,
    pub(super) stage: PathBuf,
    sandboxes: PathBuf,
    layers: PathBuf,
    incoming: PathBuf,
    spare: PathBuf,
    trash: PathBuf,
    discarded: u64,
}

/// The folders of one session.
#[derive(Debug)]
pub(super) struct SessionFiles {
    pub(super) writable: PathBuf,
    pub(super) uploads: PathBuf,
}

impl Files {
    /// Makes the folders of a data folder, and the base anew.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let [base, stage, sandboxes, layers, incoming, prepared, trash] =
            ["base", "stage", "sandboxes", "layers", "incoming", "prepared", "trash"]
                .map(|name| data_dir.join(name));
        for folder in [&stage, &sandboxes, &layers, &incoming, &prepared, &trash] {
            make_folder(folder, 0o700)?;
        }
        for name in ["lower", "rw", "root"] {
            make_folder(&stage.join(name), 0o755)?;
        }
        base::build(&base)?;
        let spare = prepared.join("spare");
        let mut files = Self { base, stage, sandboxes, layers, incoming, spare, trash, discarded: 0 };
        // Whoever was unpacking died with the last spawner.
        for half in names(&files.incoming)? {
            files.throw_away(&files.incoming.join(&half), "incoming")?;
        }
        Ok(files)
    }

    /// The folder of a layer, if it is here.
    pub(super) fn layer(&self, layer: &LayerName) -> Option<PathBuf> {
        let folder = self.layers.join(layer.as_str());
        folder.symlink_metadata().is_ok_and(|found| found.is_dir()).then_some(folder)
    }

    /// The next layers, by name.
    pub(super) fn layers(&self, after: Option<&LayerName>) -> io::Result<Vec<LayerName>> {
        next(&self.layers, after, LayerName::try_from)
    }

    /// The next sessions that have files, by id.
    pub(super) fn kept(&self, after: Option<&SessionId>) -> io::Result<Vec<SessionId>> {
        next(&self.sandboxes, after, |name| SessionId::parse(&name).ok_or(()))
    }

    /// An empty folder of a session, or of a layer, to unpack into.
    pub(super) fn receive(&self, work: u64, place: &Place) -> io::Result<PathBuf> {
        let folder = self.incoming.join(work.to_string());
        match place {
            Place::Files { .. } => make_session(folder).map(|files| files.writable.join("upper")),
            Place::Layer(_) => make_folder(&folder, 0o755).map(|()| folder),
        }
    }

    /// Puts what was unpacked in its place.
    pub(super) fn settle(&mut self, work: u64, place: &Place) -> io::Result<()> {
        let folder = self.incoming.join(work.to_string());
        match place {
            Place::Files { session, limits: _ } => {
                let own = self.folder(session);
                for name in WRITTEN {
                    self.throw_away(&own.join(name), session.as_str())?;
                }
                make_folder(&own, 0o755)?;
                std::fs::rename(folder.join("upper"), own.join("upper"))?;
                std::fs::rename(folder.join("work"), own.join("work"))?;
                self.throw_away(&folder, "incoming")
            }
            Place::Layer(layer) => self.place_layer(&folder, layer),
        }
    }

    /// Gives up what was being unpacked.
    pub(super) fn reject(&mut self, work: u64) -> io::Result<()> {
        self.throw_away(&self.incoming.join(work.to_string()), "incoming")
    }

    /// Makes what a session wrote a layer, and lets the rest of its files go.
    pub(super) fn commit(&mut self, session: &SessionId, layer: &LayerName) -> io::Result<()> {
        self.place_layer(&self.folder(session).join("upper"), layer)?;
        self.discard(session)
    }

    /// Moves a layer out of the way, to be removed. Fine when it is not there.
    pub(super) fn discard_layer(&mut self, layer: &LayerName) -> io::Result<()> {
        self.throw_away(&self.layers.join(layer.as_str()), "layer")
    }

    /// One that is there already stays: two layers of one name hold the same.
    fn place_layer(&mut self, folder: &Path, layer: &LayerName) -> io::Result<()> {
        if self.layer(layer).is_some() {
            return self.throw_away(folder, "layer");
        }
        std::fs::rename(folder, self.layers.join(layer.as_str()))
    }

    /// The folders of a session, made if they are not there.
    pub(super) fn session(&self, session: &SessionId) -> io::Result<SessionFiles> {
        make_session(self.sandboxes.join(session.as_str()))
    }

    /// Makes empty folders for a session that nobody has asked for yet.
    pub(super) fn prepare(&mut self) -> io::Result<SessionFiles> {
        // What a spare sandbox that died has left is not empty.
        self.throw_away(&self.spare.clone(), "spare")?;
        make_session(self.spare.clone())
    }

    /// Where the folders of a session are, or would be.
    pub(super) fn folder(&self, session: &SessionId) -> PathBuf {
        self.sandboxes.join(session.as_str())
    }

    /// Where the folders of all sessions are.
    pub(super) fn sandboxes(&self) -> &Path {
        &self.sandboxes
    }

    /// The folders of the spare sandbox.
    pub(super) fn spare(&self) -> &Path {
        &self.spare
    }

    /// Whether a session has folders.
    pub(super) fn has(&self, session: &SessionId) -> bool {
        self.sandboxes.join(session.as_str()).symlink_metadata().is_ok()
    }

    /// Whether a session has written anything: its sandbox was made once, or its files were unpacked.
    pub(super) fn has_written(&self, session: &SessionId) -> bool {
        self.folder(session).join("upper").symlink_metadata().is_ok()
    }

    /// Gives the spare folders to a session. False when it has folders of its own. What is mounted stays mounted.
    pub(super) fn give_spare(&self, session: &SessionId) -> bool {
        // Never over a folder that is in use: that one is not empty.
        std::fs::rename(&self.spare, self.sandboxes.join(session.as_str())).is_ok()
    }

    /// Moves the files of a session out of the way, to be removed. Fine when there are none.
    pub(super) fn discard(&mut self, session: &SessionId) -> io::Result<()> {
        self.throw_away(&self.sandboxes.join(session.as_str()), session.as_str())
    }

    /// Moves a folder out of the way, to be removed. Fine when there is none.
    pub(super) fn throw_away(&mut self, folder: &Path, name: &str) -> io::Result<()> {
        self.discarded += 1;
        let place = self.trash.join(format!("{name}.{}.{}", std::process::id(), self.discarded));
        match std::fs::rename(folder, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What waits to be removed.
    pub(super) fn has_trash(&self) -> bool {
        std::fs::read_dir(&self.trash).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// The folder to hand to [`empty`].
    pub(super) fn trash(&self) -> &Path {
        &self.trash
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// The next names in a folder that mean something, in their order.
fn next<T: Ord, E>(
    folder: &Path,
    after: Option<&T>,
    read: impl Fn(String) -> Result<T, E>,
) -> io::Result<Vec<T>> {
    let mut all: Vec<T> = names(folder)?
        .into_iter()
        .filter_map(|name| read(name).ok())
        .filter(|name| after.is_none_or(|after| name > after))
        .collect();
    all.sort_unstable();
    all.truncate(NAMES_MAX);
    Ok(all)
}

fn make_session(folder: PathBuf) -> io::Result<SessionFiles> {
    make_folder(&folder, 0o755)?;
    ["upper", "work", MOUNTS, "uploads"]
        .iter()
        .try_for_each(|name| make_folder(&folder.join(name), 0o755))?;
    Ok(SessionFiles { uploads: folder.join("uploads"), writable: folder })
}

/// Makes a folder with exactly these permissions. Fine when it is there.
pub(super) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes everything in a folder. Never follows a link, holds a bounded number of descriptors whatever the depth, and
/// goes on past what it cannot remove; answers the first failure.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    let top = open_folder(folder)?;
    let mut failure = None;
    let mut moved = 0;
    loop {
        let before = moved;
        empty_open(&top, &top, 0, &mut moved, &mut failure);
        if moved == before || failure.is_some() {
            break;
        }
    }
    failure.map_or(Ok(()), Err)
}

fn empty_open(folder: &File, top: &File, depth: usize, moved: &mut u64, failure: &mut Option<io::Error>) {
    let names = match std::fs::read_dir(through(folder)) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()),
        Err(error) => {
            failure.get_or_insert(error);
            return;
        }
    };
    for name in names {
        let path = through(folder).join(&name);
        if let Err(error) = remove_one(&path, top, depth, moved, failure) {
            failure.get_or_insert(error);
        }
    }
}

fn remove_one(
    path: &Path,
    top: &File,
    depth: usize,
    moved: &mut u64,
    failure: &mut Option<io::Error>,
) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return std::fs::remove_file(path);
    }
    if depth == DEPTH_MAX {
        *moved += 1;
        return std::fs::rename(path, through(top).join(format!("deep.{}.{moved}", std::process::id())));
    }
    let folder = open_folder(path)?;
    empty_open(&folder, top, depth + 1, moved, failure);
    drop(folder);
    std::fs::remove_dir(path)
}

/// A path to an open folder that cannot be diverted.
fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()))
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    File::options().read(true).custom_flags(flags).open(path).map(|file| File::from(OwnedFd::from(file)))
}
