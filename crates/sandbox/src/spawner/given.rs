//! The folders that sessions are shown, on the host's side, and the files that are put into them.
//!
//! ```text
//! sandboxes/ID/uploads           read-only, always
//! sandboxes/ID/shown/TARGET      read-only mounts: written to by the spawner alone
//! sandboxes/ID/mounts/TARGET     read-write mounts: as hostile as whatever a session writes, and bounded with it; in the
//!                                folder `disk` where the session has a file system of its own
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use api::ids::SessionId;

use super::cell::State;
use super::cell::Waiter;
use super::files::make_folder;
use super::serve::Spawner;
use crate::Access;
use crate::FilePath;
use crate::FilePlace;
use crate::Folder;
use crate::Mount;
use crate::MountTarget;
use crate::beneath;
use crate::wire::Answer;

/// Read-write mounts in a session's folder.
pub(super) const MOUNTS: &str = "mounts";
const SHOWN: &str = "shown";
const UPLOADS: &str = "uploads";

impl Spawner {
    /// The folder of a mount, made if it is not there. One of the same target with another access goes.
    pub(super) fn make_mount(&mut self, session: &SessionId, mount: &Mount) -> io::Result<PathBuf> {
        let Mount { target, access } = mount;
        make_folder(&self.files.folder(session), 0o755)?;
        let other = match access {
            Access::ReadOnly => Access::ReadWrite,
            Access::ReadWrite => Access::ReadOnly,
        };
        if let Some(place) = self.place(session, other) {
            self.files.throw_away(&place.join(target.name()), session.as_str())?;
        }
        let place = self.place(session, *access).ok_or_else(out_of_reach)?;
        make_folder(&place, 0o755)?;
        let folder = place.join(target.name());
        make_folder(&folder, 0o755)?;
        Ok(folder)
    }

    /// Moves what was in a mount out of the way, to be removed.
    pub(super) fn discard_mount(&mut self, session: &SessionId, target: &MountTarget) -> io::Result<()> {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            if let Some(place) = self.place(session, access) {
                self.files.throw_away(&place.join(target.name()), session.as_str())?;
            }
        }
        self.trash.note();
        Ok(())
    }

    /// Where the mounts of a session lie; `None` while that is out of reach.
    fn place(&self, session: &SessionId, access: Access) -> Option<PathBuf> {
        let own = self.files.folder(session);
        match (access, &self.launcher) {
            (Access::ReadOnly, _) => Some(own.join(SHOWN)),
            (Access::ReadWrite, Ok(launcher)) => {
                let cell = self.cells.get(session);
                let is_running = cell.is_some_and(|cell| !matches!(cell.state, State::Ending { .. }));
                launcher.volumes.writable(&own, is_running).map(|place| place.join(MOUNTS))
            }
            (Access::ReadWrite, Err(_)) => Some(own.join(MOUNTS)),
        }
    }

    /// The folder that files are put into.
    fn shown(&self, session: &SessionId, folder: &Folder) -> io::Result<PathBuf> {
        let own = self.files.folder(session);
        let target = match folder {
            Folder::Uploads => {
                make_folder(&own, 0o755)?;
                let uploads = own.join(UPLOADS);
                return make_folder(&uploads, 0o755).map(|()| uploads);
            }
            Folder::Mount(target) => target,
        };
        let mut is_out_of_reach = false;
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let place = self.place(session, access);
            is_out_of_reach |= place.is_none();
            let folder = place.map(|place| place.join(target.name()));
            if let Some(folder) = folder.filter(|path| path.symlink_metadata().is_ok()) {
                return Ok(folder);
            }
        }
        Err(if is_out_of_reach { out_of_reach() } else { io::Error::other("it has no such mount") })
    }

    pub(super) fn new_file(&mut self, waiter: Waiter, session: &SessionId, folder: &Folder) {
        if self.works.is_on(session) {
            return self.fail(waiter, "its files are being packed or unpacked");
        }
        match self.shown(session, folder).and_then(|place| beneath::nameless(&place)) {
            Ok(file) => self.reply(waiter, Answer::File, Some(&file.into())),
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }

    pub(super) fn put_file(&mut self, waiter: Waiter, place: &FilePlace, file: Option<OwnedFd>) {
        let Some(file) = file else { return self.fail(waiter, "no file was attached") };
        if self.works.is_on(&place.session) {
            return self.fail(waiter, "its files are being packed or unpacked");
        }
        let put = self
            .shown(&place.session, &place.folder)
            .and_then(|folder| beneath::put(&folder, &place.path, &file.into(), place.permissions()));
        self.told(waiter, put);
    }

    pub(super) fn remove_file(
        &mut self,
        waiter: Waiter,
        session: &SessionId,
        folder: &Folder,
        path: &FilePath,
    ) {
        // A folder in a mount may be the place of another mount.
        let prunes = matches!(folder, Folder::Uploads);
        let removed = if self.files.has(session) {
            self.shown(session, folder).and_then(|folder| beneath::remove(&folder, path, prunes))
        } else {
            Ok(())
        };
        self.told(waiter, removed);
    }

    /// Tells whether something was done.
    pub(super) fn told(&mut self, waiter: Waiter, done: io::Result<()>) {
        match done {
            Ok(()) => self.reply(waiter, Answer::Ended, None),
            Err(error) => self.fail(waiter, &error.to_string()),
        }
    }
}

fn out_of_reach() -> io::Error {
    io::Error::other("its file system can be reached only while its sandbox runs")
}
