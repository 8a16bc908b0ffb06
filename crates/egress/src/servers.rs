//! Servers that say what sessions may do and ask what they have done, on a socket that this process makes in its own
//! folder. Only its user and root reach the socket; the user on the other end is checked as well.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::limits::CLIENTS_MAX;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::packets::Packets;
use crate::process::log;
use crate::sessions::Sessions;
use crate::sys::socket;
use crate::wire::Request;
use crate::wire::Response;
use crate::wire::SOCKET;

/// How long accepting rests after it has failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the socket, in place of a former process's.
pub(crate) fn listen(folder: &Path) -> io::Result<Packets> {
    let path = folder.join(SOCKET);
    drop(std::fs::remove_file(&path));
    let path = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    Packets::new(socket::listen(path)?)
}

/// Answers servers of root and of the user `peer`, for as long as it is polled.
pub(crate) async fn answer(listener: Packets, peer: Option<u32>, sessions: Arc<Sessions>) {
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS_MAX {
            clients.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((packets, user)) if user == 0 || Some(user) == peer => {
                    let sessions = Arc::clone(&sessions);
                    clients.spawn(async move {
                        if let Err(error) = answer_one(&packets, &sessions).await {
                            log(&format!("answer a server: {error}"));
                        }
                    });
                }
                Ok((_, user)) => log(&format!("refused a connection of user {user}")),
                Err(error) => {
                    log(&format!("accept a server: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn answer_one(packets: &Packets, sessions: &Sessions) -> io::Result<()> {
    while let Some((bytes, _)) = packets.receive().await? {
        // They may hold secrets.
        let bytes = Zeroizing::new(bytes);
        let response = match serde_json::from_slice(&bytes) {
            Ok(request) => respond(request, sessions),
            // The text of the error would repeat parts of the message.
            Err(_) => Response::Failed { reason: "the request is not understood".to_owned() },
        };
        packets.send(&fitting(response)?, &[]).await?;
    }
    Ok(())
}

fn respond(request: Request, sessions: &Sessions) -> Response {
    let failed = |error: io::Error| Response::Failed { reason: error.to_string() };
    match request {
        Request::Report { session } => sessions
            .report(&session)
            .map_or_else(failed, |report| Response::Report { report: report.map(Box::new) }),
        Request::Grant { session, grant } => {
            sessions.grant(session, Some(grant));
            Response::Done
        }
        Request::Release { session } => {
            sessions.grant(session, None);
            Response::Done
        }
        Request::Authority { session } => sessions
            .authority(&session)
            .map_or_else(failed, |certificate| Response::Authority { certificate }),
    }
}

/// A response as a message; of a report that is too long, the older decisions are left out.
fn fitting(mut response: Response) -> io::Result<Vec<u8>> {
    loop {
        let bytes = serde_json::to_vec(&response)?;
        match &mut response {
            Response::Report { report: Some(report) }
                if bytes.len() > MESSAGE_BYTES_MAX && !report.recent.is_empty() =>
            {
                let half = report.recent.len().div_ceil(2);
                report.recent.drain(..half);
            }
            Response::Report { .. }
            | Response::Done
            | Response::Authority { .. }
            | Response::Failed { .. } => return Ok(bytes),
        }
    }
}
