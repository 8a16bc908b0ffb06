//! What containers are shown of the host: the hand, and for each session a folder to meet in and one of uploads.
//!
//! ```text
//! DATA/docker/         for the server alone
//!     hand             the program
//!     sessions/ID/     door, uploads, policy.json
//! ```

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use api::ids::SessionId;
use egress::Policy;

use crate::HAND;

/// The folders of a back end.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("docker") }
    }

    /// The program.
    pub(super) fn hand(&self) -> PathBuf {
        self.folder.join("hand")
    }

    /// Where server and hand meet.
    pub(super) fn door(&self, session: &SessionId) -> PathBuf {
        self.session(session).join("door")
    }

    /// What the session was given.
    pub(super) fn uploads(&self, session: &SessionId) -> PathBuf {
        self.session(session).join("uploads")
    }

    /// What the session may reach, as it was last written.
    pub(super) fn read_policy(&self, session: &SessionId) -> io::Result<Option<Policy>> {
        match std::fs::read(self.policy(session)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down what the session may reach.
    pub(super) fn write_policy(&self, session: &SessionId, policy: &Policy) -> io::Result<()> {
        self.make(session)?;
        let (path, bytes) = (self.policy(session), serde_json::to_vec(policy)?);
        if std::fs::read(&path).is_ok_and(|written| written == bytes) {
            return Ok(());
        }
        let new = path.with_extension("new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(new, path)
    }

    fn policy(&self, session: &SessionId) -> PathBuf {
        self.session(session).join("policy.json")
    }

    fn session(&self, session: &SessionId) -> PathBuf {
        self.folder.join("sessions").join(session.as_str())
    }

    /// Makes what a session's container needs.
    pub(super) fn make(&self, session: &SessionId) -> io::Result<()> {
        // What is below is open to everybody, for inside a container its users may be others than here.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        for folder in [self.door(session), self.uploads(session)] {
            DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
            std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        self.write_hand()
    }

    /// Writes the program unless it is there. Containers that run keep the one that they were started with.
    fn write_hand(&self) -> io::Result<()> {
        let path = self.hand();
        if std::fs::read(&path).is_ok_and(|bytes| bytes == HAND) {
            return Ok(());
        }
        let new = self.folder.join(format!("hand.{}.new", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(HAND)?;
        file.set_permissions(Permissions::from_mode(0o555))?;
        file.sync_all()?;
        std::fs::rename(new, path)
    }

    /// Removes what a session has here. Fine when there is nothing.
    pub(super) fn remove(&self, session: &SessionId) -> io::Result<()> {
        match std::fs::remove_dir_all(self.session(session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
