//! Bounds of the harness, each with its reason.

use std::time::Duration;

/// How long a driver may be silent before another server takes its session up. Long enough for a full disk queue or a
/// paused machine, short enough that a crashed server's sessions go on within seconds.
pub(crate) const LEASE_TTL_MS: i64 = 10_000;

/// How often leases are renewed and dead drivers looked for: three tries within one lease.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Renew on every third sweep.
pub(crate) const SWEEPS_PER_RENEWAL: u32 = 3;

/// Abandoned sessions taken up in one sweep; the rest follows a second later. Keeps a restart with very many running
/// sessions from opening them all at once.
pub(crate) const RESUMED_PER_SWEEP_MAX: usize = 256;

/// Entries read at once when a log is folded.
pub(crate) const ENTRIES_PER_READ_MAX: usize = 1_000;

/// Reports of ended effects that may wait for one driver. More calls than this in one reply only make senders wait.
pub(crate) const REPORTS_MAX: usize = 64;

/// Sessions at rest whose state is kept in memory, so that their next turn starts without folding the log.
pub(crate) const RESTED_MAX: usize = 128;

/// Bytes of conversation that all states at rest may hold together.
pub(crate) const RESTED_BYTES_MAX: usize = 8 << 20;

/// Sandboxes that are ended to make room for one. Every try but the last may lose the room to somebody else.
pub(crate) const EVICTIONS_MAX: usize = 8;

/// Idle sandboxes are looked for on every n-th sweep.
pub(crate) const SWEEPS_PER_TIDYING: u32 = 30;

/// Rounds of deciding without anything to perform. The longest honest chain is three; more is a bug in the brain.
pub(crate) const DECISIONS_MAX: u32 = 32;

/// How long a tool call may take to end after it was told to, before its result is written without it.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Pause before a driver that failed (store unreachable, lease lost to a zombie) is started again.
pub(crate) const DRIVER_PAUSE: Duration = Duration::from_secs(1);

/// Times that a session's driver may panic in a row before the turn is ended with an error.
pub(crate) const PANICS_MAX: u32 = 3;

/// How long `shutdown` waits for tasks that do not stop by themselves.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
