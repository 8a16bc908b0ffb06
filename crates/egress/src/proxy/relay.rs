//! Bytes both ways, unseen: half-closed ends stay half-closed, and a connection ends when nothing has moved for long.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::ReadHalf;
use tokio::net::tcp::WriteHalf;

use super::buffered::Buffered;
use super::link::Link;
use crate::limits::COPY_BYTES;
use crate::limits::IDLE_TIME_MAX;
use crate::session::Exhausted;

/// Size of a buffer before it is known that much is to be copied.
const COPY_BYTES_FIRST: usize = 16 * 1024;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// An end of it failed.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The session's bytes are used up.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// When something moved last.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(millis, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for [`IDLE_TIME_MAX`].
    pub(super) async fn idle(&self) {
        loop {
            let last = std::time::Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let idle = self.start.elapsed().saturating_sub(last);
            let Some(left) = IDLE_TIME_MAX.checked_sub(idle).filter(|left| !left.is_zero()) else { return };
            tokio::time::sleep(left).await;
        }
    }
}

/// Copies both ways until both ends have closed. What is buffered goes first.
pub(super) async fn relay(client: &mut Buffered, link: &mut Link) -> Result<(), End> {
    let activity = Activity::new();
    let flow = &link.flow;
    let (client_reader, client_writer) = client.stream.split();
    let (link_reader, link_writer) = link.buffered.stream.split();
    let first_out = std::mem::take(&mut client.buffer);
    let first_in = std::mem::take(&mut link.buffered.buffer);
    let out = pump(client_reader, link_writer, first_out, |count| flow.count_out(count), &activity);
    let r#in = pump(link_reader, client_writer, first_in, |count| flow.count_in(count), &activity);
    tokio::select! {
        both = async { tokio::try_join!(out, r#in) } => both.map(|_| ()),
        () = activity.idle() => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

async fn pump(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    first: Vec<u8>,
    count: impl Fn(usize) -> Result<(), Exhausted>,
    activity: &Activity,
) -> Result<(), End> {
    if !first.is_empty() {
        count(first.len())?;
        to.write_all(&first).await?;
    }
    drop(first);
    let mut buffer = Vec::new();
    loop {
        from.readable().await?;
        if buffer.is_empty() {
            buffer.resize(COPY_BYTES_FIRST, 0);
        }
        let length = match from.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        activity.touch();
        count(length)?;
        to.write_all(&buffer[..length]).await?;
        if length == buffer.len() && length < COPY_BYTES {
            buffer.resize(COPY_BYTES, 0);
        }
    }
    // The other end may have gone already; then its own direction says so.
    drop(to.shutdown().await);
    Ok(())
}
