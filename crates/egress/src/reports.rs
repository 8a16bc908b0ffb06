//! Usage reports of sessions, asked of the egress process by servers over the socket in the data folder.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use api::ids::SessionId;
use tokio::time::timeout;

use crate::limits::ANSWER_TIME_MAX;
use crate::packets::Packets;
use crate::sys::socket;
use crate::wire::Ask;
use crate::wire::Report;
use crate::wire::SOCKET;

/// The egress process gave no report.
#[derive(Debug, thiserror::Error)]
#[error("ask the egress process about session {session}")]
pub struct ReportError {
    /// The session in question.
    pub session: String,
    #[source]
    pub source: io::Error,
}

/// Asks the egress process of a data folder. Each question has a connection of its own, so that the process may be
/// started again at any time.
#[derive(Clone, Debug)]
pub struct Reports {
    data_dir: PathBuf,
}

impl Reports {
    /// A client for the process of a data folder. Connects to nothing yet.
    pub fn open(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// What a session has reached; `None` when nothing is known of it.
    pub async fn report(&self, session: &SessionId) -> Result<Option<Report>, ReportError> {
        let asking = async {
            let packets = self.connect()?;
            let ask = serde_json::to_vec(&Ask::Report { session: session.clone() })?;
            packets.send(&ask, &[]).await?;
            let answer = packets.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(serde_json::from_slice(&answer.0)?)
        };
        let answer = timeout(ANSWER_TIME_MAX, asking).await.unwrap_or_else(|error| Err(error.into()));
        answer.map_err(|source| ReportError { session: session.as_str().to_owned(), source })
    }

    fn connect(&self) -> io::Result<Packets> {
        // Through the folder's descriptor, because a whole path may be longer than an address holds.
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let folder = std::fs::File::options().read(true).custom_flags(flags).open(&self.data_dir)?;
        Packets::new(socket::connect(&format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?)
    }
}
