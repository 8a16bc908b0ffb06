//! Usage reports of sessions, asked of the egress process by servers.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use api::ids::SessionId;
use tokio::time::timeout;

use crate::connection;
use crate::limits::ANSWER_TIME_MAX;
use crate::wire::Report;
use crate::wire::Request;
use crate::wire::Response;

/// The egress process gave no report.
#[derive(Debug, thiserror::Error)]
#[error("ask the egress process about session {session}")]
pub struct ReportError {
    /// The session in question.
    pub session: String,
    /// The failure.
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
    /// Reports of the process of a data folder. Connects to nothing yet.
    pub fn open(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// What a session has reached; `None` when nothing is known of it.
    pub async fn report(&self, session: &SessionId) -> Result<Option<Report>, ReportError> {
        let asking = async {
            let packets = connection::open(&self.data_dir)?;
            match connection::ask(&packets, &Request::Report { session: session.clone() }).await? {
                Response::Report { report } => Ok(report.map(|report| *report)),
                other => Err(connection::unexpected(other)),
            }
        };
        let answer = timeout(ANSWER_TIME_MAX, asking).await.unwrap_or_else(|error| Err(error.into()));
        answer.map_err(|source| ReportError { session: session.to_string(), source })
    }
}
