//! Listening: accepts connections, serves HTTP/1.1 on each, and ends them in order when the server stops.
//!
//! On shutdown nothing new is accepted, every connection finishes the request it is in (streams end by themselves,
//! they watch the same token), and what is still open after [`DRAIN_MAX`] is cut.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Parts;
use crate::limits::CONNECTIONS_MAX;
use crate::limits::DRAIN_MAX;
use crate::limits::HEAD_READ_MAX;
use crate::telemetry;

/// Pause after the kernel refused a connection for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until `parts.shutdown` is cancelled and the open requests are done.
pub async fn serve(listener: TcpListener, parts: Parts) {
    let shutdown = parts.shutdown.clone();
    let write_stall_max = parts.limits.write_stall_max;
    let router = crate::router(parts);
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    tasks.spawn(telemetry::upkeep(shutdown.clone()));
    while let Some((stream, slot)) = accept(&listener, &slots, &shutdown).await {
        let guarded = Guarded { stream, write_stall_max, stalled: None };
        tasks.spawn(converse(guarded, router.clone(), shutdown.clone(), cut.clone(), slot));
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN_MAX, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "cut the connections that did not end in time");
        cut.cancel();
        tasks.wait().await;
    }
}

/// The next connection, with its slot; `None` once the server stops.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, slot),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await
}

/// `accept` failed because of this one client, and not because of us.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

async fn converse(
    guarded: Guarded,
    router: Router,
    shutdown: CancellationToken,
    cut: CancellationToken,
    slot: OwnedSemaphorePermit,
) {
    // Small answers must not wait for more to send. Without it they are merely slower.
    guarded.stream.set_nodelay(true).ok();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_MAX)
        .serve_connection(TokioIo::new(guarded), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let mut is_draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke: {error}");
                }
                break;
            }
            () = shutdown.cancelled(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => break,
        }
    }
    drop(slot);
}

/// A socket whose writes fail once the other side took nothing for `write_stall_max`.
///
/// Reads have no such bound: a client that follows a stream has nothing to say.
struct Guarded {
    stream: TcpStream,
    write_stall_max: Duration,
    /// Runs while a write waits for the other side.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn bounded<T>(&mut self, ctx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(ctx));
        metrics::counter!(telemetry::CONNECTIONS_STALLED).increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(ctx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(ctx, bytes);
        this.bounded(ctx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(ctx, slices);
        this.bounded(ctx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(ctx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(ctx)
    }
}
