//! Every bound of the store, with its reason.

use std::time::Duration;

/// Writes that wait for the writer. A full queue makes callers wait; ten commits' worth keeps the disk busy.
pub(crate) const WRITES_QUEUED_MAX: usize = 2560;
/// Writes in one commit. Beyond this the fsync is less than a hundredth of the cost, and waiting callers suffer.
pub(crate) const WRITES_PER_COMMIT_MAX: usize = 256;
/// Bytes of entries in one commit: what is held in memory twice while it is written.
pub(crate) const BYTES_PER_COMMIT_MAX: usize = 16 * 1024 * 1024;
/// Reads that wait for a SQLite reader.
pub(crate) const READS_QUEUED_MAX: usize = 1024;
/// SQLite reader threads. Reads are short and mostly in memory; more threads than this only fight for the cores.
pub(crate) const READERS: usize = 4;
/// Prepared statements kept per connection: all fixed texts of this crate and the common list queries.
pub(crate) const STATEMENTS_CACHED_MAX: usize = 128;
/// Signals that wait for one follower before it is told to re-read: some seconds of a fast model's deltas.
pub(crate) const FOLLOWER_SIGNALS_MAX: usize = 512;
/// Entries in one append. The API accepts far fewer events in a request.
pub(crate) const ENTRIES_PER_APPEND_MAX: usize = 1000;
/// Entries in a session: a sequence number must fit the 31 bits that a page position leaves for it.
pub(crate) const ENTRIES_PER_SESSION_MAX: i64 = (1 << 31) - 1;
/// Rows of one read. Larger than any page that the API serves.
pub(crate) const ROWS_PER_READ_MAX: usize = 10_000;
/// Types, statuses and the like in one filter. There are fewer event types than this.
pub(crate) const FILTER_VALUES_MAX: usize = 256;
/// WAL pages (of 4 KiB) after which SQLite copies them into the database: 32 MiB, so that hot pages are copied seldom.
pub(crate) const CHECKPOINT_PAGES: i64 = 8000;
/// How long SQLite waits for a lock. Only another program that opens the file, such as a backup, can hold one.
pub(crate) const BUSY_MS: u64 = 5000;

/// PostgreSQL connections besides the writer's and the listener's. Two replicas fit a default server of 100 easily.
pub(crate) const CONNECTIONS_MAX: usize = 16;
/// How long a call waits for a free or new connection before it fails.
pub(crate) const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// How long PostgreSQL may be silent, in a statement and between packets, before the connection is given up: as long as a
/// lease lasts, after which another node goes on with the sessions.
pub(crate) const DATABASE_SILENCE_MS: u64 = 10_000;
/// Attempts at a transaction that PostgreSQL refused for a deadlock or a serialization failure.
pub(crate) const ATTEMPTS_MAX: usize = 5;
/// Pause between attempts to connect again.
pub(crate) const RECONNECT_MS: u64 = 250;
/// How often followed sessions are looked up in case a notification was lost.
pub(crate) const POLL_MS: u64 = 1000;
/// Bytes of one notification. PostgreSQL refuses 8000 and more.
pub(crate) const NOTIFICATION_BYTES_MAX: usize = 7900;
/// Statements sent at once within a transaction: `join_all` polls up to 30 futures one after the other, so that they
/// are sent in order.
pub(crate) const STATEMENTS_PIPELINED_MAX: usize = 25;
/// Followed sessions looked up in one statement: their keys are some tens of kilobytes of text.
pub(crate) const SESSIONS_PER_LOOK_MAX: usize = 5000;
/// Notifications that wait to be read. What does not fit is found by the next look at the table.
pub(crate) const NOTIFICATIONS_QUEUED_MAX: usize = 1024;
/// Entries read at once to catch up with another node's appends. Further behind, followers re-read by themselves.
pub(crate) const CATCH_UP_ENTRIES_MAX: usize = 256;
/// Leases renewed in one transaction, so that appends to the same rows never wait long.
pub(crate) const RENEWALS_PER_COMMIT_MAX: usize = 500;

/// Jobs of one append. An event fans out to few.
pub(crate) const JOBS_PER_APPEND_MAX: usize = 100;
/// Bytes of what a job needs to know: an environment with its setup script fits, a document does not belong there.
pub(crate) const JOB_BYTES_MAX: usize = 1 << 20;
/// Bytes of the error of an attempt that are kept.
pub(crate) const JOB_ERROR_BYTES_MAX: usize = 4096;
/// Jobs of one kind taken at once, so that a node with much room leaves some to others.
pub(crate) const JOBS_PER_CLAIM_MAX: usize = 64;

/// Bytes of one part of a blob: a bucket takes 10,000 parts, which makes 80 GiB, and no part below 5 MiB.
pub(crate) const BLOB_PART_BYTES: usize = 8 << 20;
/// Parts of one blob that are on their way at once: enough to keep a link busy, and 32 MiB of memory.
pub(crate) const BLOB_PARTS_UNDER_WAY_MAX: usize = 4;
/// Parts of a key. The longest is `checkpoints/SESSION/NAME`.
pub(crate) const BLOB_KEY_PARTS_MAX: usize = 8;

/// Tries of one request to a bucket after the first, however short they are.
pub(crate) const BUCKET_RETRIES_MAX: usize = 10;
/// The longest pause between two of them.
pub(crate) const BUCKET_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long nothing may arrive on a connection to a bucket. One part must have been sent within it.
pub(crate) const BUCKET_SILENCE_MAX: Duration = Duration::from_mins(1);
