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
pub(crate) const SWEEPS_PER_TIDYING: u32 = 5;

/// Sessions whose sandbox this process remembers; what is forgotten is read from the store again.
pub(crate) const SEATS_MAX: usize = 1_000;

/// Checkpoints and restores at once. Each packs or unpacks with a whole processor; restores come first, as there is only
/// ever one checkpoint under way besides those that other nodes wait for.
pub(crate) const CHECKPOINTS_AT_ONCE_MAX: usize = 2;

/// How often ended sandboxes are looked for that have no checkpoint yet, besides whenever one ends.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);

/// Rows read at once while looking for them.
pub(crate) const CHECKPOINTS_LISTED_MAX: usize = 256;

/// Pause after a checkpoint that failed; it doubles up to half an hour.
pub(crate) const CHECKPOINT_PAUSE_MS: i64 = 30_000;

/// How long shells may take to save themselves before their sandbox is ended all the same.
pub(crate) const REST_MAX: Duration = Duration::from_secs(5);

/// How often it is tried to begin in files at which a worker still is that nobody waits for, and the pause between: such
/// a worker ends with its stream, within milliseconds.
pub(crate) const WORKER_ENDS_MAX: u32 = 50;
pub(crate) const WORKER_END_PAUSE: Duration = Duration::from_millis(10);

/// How long after its start a server reckons with workers of the one before it, which died with streams open.
pub(crate) const WORKERS_OUTLIVE_MAX: Duration = Duration::from_secs(5);

/// Times that another node may be faster before a call gives up.
pub(crate) const TAKE_ATTEMPTS_MAX: u32 = 8;

/// Sandboxes that other nodes wait for, looked at in one sweep.
pub(crate) const HANDOVERS_MAX: usize = 16;

/// How long a node waits for another one's checkpoint: that one may have gigabytes to pack, or be dead.
pub(crate) const HANDOVER_MAX: Duration = Duration::from_secs(30);

/// How often it looks.
pub(crate) const HANDOVER_PAUSE: Duration = Duration::from_millis(100);

/// How long a node believes that its sandboxes are still its own when it cannot reach the store to be told otherwise.
pub(crate) const TRUST_MAX: Duration = Duration::from_secs(10);

/// How often this node's sandboxes and files are compared with the store.
pub(crate) const SANDBOX_SWEEP_INTERVAL: Duration = Duration::from_mins(10);

/// Blobs are compared on every n-th of those sweeps.
pub(crate) const SWEEPS_PER_BLOB_SWEEP: u32 = 6;

/// Blobs looked up in one query.
pub(crate) const BLOBS_LOOKED_UP_MAX: usize = 256;

/// Age at which a blob that no row names is an orphan: the row follows its blob within moments.
pub(crate) const UNNAMED_BLOB_MS: i64 = 3_600_000;

/// Age at which the file of a blob that nobody has written to is what a dead server left.
pub(crate) const UNFINISHED_BLOB_AGE: Duration = Duration::from_hours(1);

/// Expired sandboxes ended in one sweep; the rest follows with the next.
pub(crate) const EXPIRED_LISTED_MAX: usize = 256;

/// How long an expired sandbox of another node is left to that node, which has the files too.
pub(crate) const EXPIRED_ELSEWHERE_MS: i64 = 86_400_000;

/// How often jobs are looked for when nothing wakes their worker: a lease that ran out wakes nobody.
pub(crate) const JOBS_POLLED_EVERY: Duration = Duration::from_secs(1);

/// How often jobs are counted for metrics.
pub(crate) const JOBS_COUNTED_EVERY: Duration = Duration::from_secs(15);

/// How often old jobs are removed, and how long parked ones are shown.
pub(crate) const JOBS_CLEANED_EVERY: Duration = Duration::from_hours(1);
pub(crate) const JOBS_KEPT_MS: i64 = 30 * 86_400_000;

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

/// Builds of packages at once: each takes processors and memory like a whole session.
pub(crate) const BUILDS_MAX: usize = 2;

/// How long one build may take. Compiling a large program with all it needs takes tens of minutes.
pub(crate) const BUILD_TIME_MAX: Duration = Duration::from_hours(1);

/// Builds of one process that may wait for their turn: each keeps a lease alive.
pub(crate) const BUILDS_WAITING_MAX: usize = 64;

/// How often a build is begun that crashes or hangs whoever builds. One that merely fails is not begun again by itself.
pub(crate) const BUILD_ATTEMPTS_MAX: i64 = 3;

/// How long an attempt may take with all the builds before it in line. One that takes longer hangs.
pub(crate) const BUILD_ATTEMPT_MAX: Duration = Duration::from_hours(24);

/// Bytes that a script prints of which its text is made: what package managers say of themselves is a few lines.
pub(crate) const SCRIPT_OUTPUT_BYTES_MAX: u32 = 1 << 20;

/// How long a reply with calls waits for the back end to stand by. A crash may leave calls of one that did not in doubt.
pub(crate) const STAND_BY_MAX: Duration = Duration::from_secs(5);

/// How soon a build that failed is tried again when it is wanted.
pub(crate) const BUILD_RETRY_MS: i64 = 60_000;

/// Lines of a step's output that are kept.
pub(crate) const BUILD_LINES_MAX: usize = 100;

/// Bytes of these lines.
pub(crate) const BUILD_LOG_BYTES_MAX: u32 = 16_000;

/// Lines that an error shows to the model.
pub(crate) const BUILD_LINES_IN_ERROR_MAX: usize = 20;

/// How often the use of a layer is noted.
pub(crate) const BUILD_USE_NOTED_MS: i64 = 3_600_000;

/// Layers that nobody has wanted for so long are removed: as long as sandboxes live.
pub(crate) const BUILD_UNUSED_MS: i64 = 30 * 24 * 3_600_000;

/// Layers that are looked at in one collection.
pub(crate) const BUILDS_COLLECTED_MAX: usize = 1_000;

/// How long the hosts of package managers are believed: an image's configuration does not change, a host's may.
pub(crate) const PACKAGE_HOSTS_KNOWN_MS: i64 = 7 * 24 * 3_600_000;
