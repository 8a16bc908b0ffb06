//! Every bound of the hand, with its reason.

use std::time::Duration;

/// Connections at once; the oldest is dropped for a new one. A server needs one, its successor another.
pub(crate) const CONNECTIONS_MAX: usize = 16;
/// Bytes that wait to be sent on one connection before it is dropped: two of the largest frames.
pub(crate) const OUTGOING_BYTES_MAX: usize = 2 * crate::protocol::FRAME_BYTES_MAX;
/// Bytes that wait to be sent on one connection before the output of a program that is streamed to it is left unread.
pub(crate) const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// Bytes read from one descriptor before the others get their turn.
pub(crate) const READ_TURN_BYTES: usize = 64 << 10;

/// Results kept until they are acknowledged, together.
pub(crate) const RESULTS_BYTES_MAX: usize = 128 << 20;
/// The same, by count.
pub(crate) const RESULTS_MAX: usize = 1_000;
/// Calls remembered as acknowledged, so that a late repetition does not run again.
pub(crate) const ACKNOWLEDGED_MAX: usize = 10_000;

/// File tools that run at once; more wait for their turn. They are short and mostly wait for the disk.
pub(crate) const WORKERS_MAX: usize = 16;
/// Time for one file tool: what the reference runner grants any tool.
pub(crate) const WORKER_TIME_MAX: Duration = Duration::from_secs(150);
/// Processor time for one file tool, so that one that spins dies even if we do not look.
pub(crate) const WORKER_CPU_SECONDS: u64 = 120;
/// Address space for one file tool: a 20 MiB PDF takes about 100 MiB on its way to JSON.
pub(crate) const WORKER_MEMORY_BYTES: u64 = 2 << 30;

/// Programs that run at once for the server; more are refused. Each may take two pipes.
pub(crate) const EXECS_MAX: usize = 64;

/// Shells kept running while no call uses them; the one idle longest gives way, and is put back from its saved state.
pub(crate) const SHELLS_MAX: usize = 32;
/// Time for a command that names none: as the reference runner.
pub(crate) const COMMAND_TIME: Duration = Duration::from_mins(2);
/// Longest time a command may ask for; more is cut to this.
pub(crate) const COMMAND_TIME_MAX: Duration = Duration::from_mins(10);
/// Bytes that a shell may report after a call (its exported variables) before it counts as broken.
pub(crate) const REPORT_BYTES_MAX: usize = 4 << 20;

/// How long nothing has to happen before memory that is not in use goes back to the host.
pub(crate) const QUIET_TIME: Duration = Duration::from_millis(500);
/// Time for all idle shells to save their state before a rest goes on without those that have not.
pub(crate) const REST_TIME: Duration = Duration::from_secs(2);
/// Bytes of the file that keeps the state of shells; those used longest ago are left out.
pub(crate) const SAVED_BYTES_MAX: usize = 8 << 20;

/// How often the processes of a call that is being ended are looked at.
pub(crate) const ENDING_TICK: Duration = Duration::from_millis(20);
/// From INT to TERM after a time-out: long enough for a test runner to print its summary.
pub(crate) const TIMEOUT_GRACE: Duration = Duration::from_secs(2);
/// The same after a cancellation, where somebody waits.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_millis(300);
/// From TERM to KILL.
pub(crate) const KILL_GRACE: Duration = Duration::from_millis(500);
/// From KILL to the moment a shell that still does not answer is given up.
pub(crate) const ABANDON_GRACE: Duration = Duration::from_secs(1);

/// Characters of a result that stay inline, as documented for the toolset.
pub(crate) const INLINE_CHARS_MAX: usize = 100_000;
/// Characters of the preview's beginning.
pub(crate) const PREVIEW_HEAD_CHARS: usize = 20_000;
/// Characters of the preview's end; with the beginning and the notice below the inline bound.
pub(crate) const PREVIEW_TAIL_CHARS: usize = 79_000;
/// Bytes of output held in memory before they go to a file. 100,000 characters are at most 400,000 bytes.
pub(crate) const OUTPUT_MEMORY_BYTES: usize = 512 << 10;
/// Bytes of one call's output that are kept in a file; the rest is counted and dropped.
pub(crate) const OUTPUT_FILE_BYTES_MAX: u64 = 50 << 20;

/// Time for a job that was just put into the background to redirect its output, before it counts as holding the call's.
pub(crate) const SETTLE_TIME: Duration = Duration::from_millis(10);
/// Outputs of finished calls that background processes still hold; beyond it the oldest is closed.
pub(crate) const DRAINS_MAX: usize = 256;
/// Bytes read from such an output in one [`DRAIN_PERIOD`]: an endless writer is slowed down, not followed.
pub(crate) const DRAIN_BYTES: usize = 1 << 20;
/// See [`DRAIN_BYTES`].
pub(crate) const DRAIN_PERIOD: Duration = Duration::from_millis(100);

/// Bytes of text that `read` gives, as the reference.
pub(crate) const READ_BYTES_MAX: u64 = 256 << 10;
/// Bytes of an image in base64, the bound of the model's API.
pub(crate) const IMAGE_BASE64_BYTES_MAX: u64 = 5 << 20;
/// Bytes of a PDF.
pub(crate) const PDF_BYTES_MAX: u64 = 20 << 20;
/// Bytes of a notebook, which is parsed as a whole; the images in it are not shown.
pub(crate) const NOTEBOOK_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a file that `edit` changes, which is held twice in memory.
pub(crate) const EDIT_BYTES_MAX: u64 = 16 << 20;
/// Symbolic links followed to find what to write to, as the kernel does.
pub(crate) const LINKS_MAX: usize = 40;

/// Paths in a result of `glob`.
pub(crate) const GLOB_RESULTS_MAX: usize = 200;
/// Bytes in a result of `grep`: 97 KiB, so that the result stays inline.
pub(crate) const GREP_BYTES_MAX: usize = 97 << 10;
/// Characters of one line in a result of `grep`.
pub(crate) const GREP_LINE_CHARS_MAX: usize = 2_000;
/// Bytes of one line that `grep` looks at; a longer one ends the search of its file.
pub(crate) const GREP_LINE_BYTES_MAX: usize = 8 << 20;
/// Entries of a tree that `glob` and `grep` visit.
pub(crate) const WALK_ENTRIES_MAX: usize = 1_000_000;
/// Time for a walk.
pub(crate) const WALK_TIME_MAX: Duration = Duration::from_secs(30);
