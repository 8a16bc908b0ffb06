//! Every bound of the HTTP layer, with its reason.

use std::time::Duration;

/// Largest request body: the documented 32 MB of the original's session create.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Time for a client to send one body. The original answers `request_body_timeout` too.
pub(crate) const BODY_READ_MAX: Duration = Duration::from_mins(1);
/// Time for the head of a request, and for an idle connection: longer than the idle time of
/// the official clients' connection pools, so that the client closes first.
pub(crate) const HEAD_READ_MAX: Duration = Duration::from_secs(75);
/// Time for which a socket may accept no byte while we have some for it, before it is closed.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Connections open at once; more wait in the kernel's accept queue.
pub(crate) const CONNECTIONS_MAX: usize = 32_768;
/// Event streams open at once. Each costs a few kilobytes; below [`CONNECTIONS_MAX`], so that requests get through.
pub(crate) const STREAMS_MAX: usize = 24_576;
/// Interval at which a silent stream says that it is alive: below the idle limits of common proxies (60 s).
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Log entries read from the store at once while a stream catches up.
pub(crate) const CATCH_UP_ENTRIES_MAX: usize = 256;
/// Queued client events that a stream remembers until they are processed; older ones are looked up in the store.
pub(crate) const QUEUED_EVENTS_MAX: usize = 64;
/// Keys kept in memory. A key that fell out costs one read of the store.
pub(crate) const KEYS_CACHED_MAX: usize = 4096;
/// Time for which a key is believed without asking the store; a revoked key works this long at most.
pub(crate) const KEY_CACHED_MS_MAX: i64 = 5_000;
/// Time for open requests to end once the server stops.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Interval at which collected latency samples are folded into histograms.
pub(crate) const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Times that an update without a guard is tried again when others change the same object.
pub(crate) const UPDATE_ATTEMPTS_MAX: usize = 8;
