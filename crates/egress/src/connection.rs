//! A server's connection to the egress process.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::limits::MESSAGE_BYTES_MAX;
use crate::packets::Packets;
use crate::sys::socket;
use crate::wire::FOLDER;
use crate::wire::Request;
use crate::wire::Response;
use crate::wire::SOCKET;

/// Connects to the process of a data folder, which must listen as the user to whom its folder belongs.
pub(crate) fn open(data_dir: &Path) -> io::Result<Packets> {
    // Through the folder's descriptor, because a whole path may be longer than an address holds.
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let folder = std::fs::File::options().read(true).custom_flags(flags).open(data_dir.join(FOLDER))?;
    let packets = Packets::new(socket::connect(&format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?)?;
    let (user, owner) = (packets.peer_user()?, folder.metadata()?.uid());
    if user != owner {
        let why = format!("user {user} listens on {FOLDER}/{SOCKET}, which belongs to user {owner}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(packets)
}

/// Sends a request and waits for its response.
pub(crate) async fn ask(packets: &Packets, request: &Request) -> io::Result<Response> {
    let bytes = Zeroizing::new(serde_json::to_vec(request)?);
    if bytes.len() > MESSAGE_BYTES_MAX {
        let why = format!("a message has {} bytes, and may have {MESSAGE_BYTES_MAX}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    packets.send(&bytes, &[]).await?;
    let (answer, _) = packets.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The failure that a response tells of, which is none that was expected.
pub(crate) fn unexpected(response: Response) -> io::Error {
    match response {
        Response::Failed { reason } => io::Error::other(reason),
        other => io::Error::new(io::ErrorKind::InvalidData, format!("it answered {other:?}")),
    }
}
