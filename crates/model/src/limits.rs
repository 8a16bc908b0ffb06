//! Bounds of this crate.

/// Longest wait for a connection: a provider that cannot be reached is told of early.
pub(crate) const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Connections kept open per provider between requests: about as many sessions as one node runs at once.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 256;
/// Longest line of an event stream. One delta is small; a start event may carry a whole search result.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most data of one event, when it spans several lines.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of one reply: far above any model's output, low enough that a run-away server cannot exhaust us.
pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most content blocks of one reply.
pub(crate) const BLOCKS_MAX: usize = 4096;
/// How long the end of an answer is waited for after its last event.
pub(crate) const DRAIN_TIMEOUT_MS: u64 = 20;
/// How much of an error's body is read.
pub(crate) const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// How many characters of an upstream error message are passed on.
pub(crate) const ERROR_MESSAGE_CHARS_MAX: usize = 500;
/// Quirks of models that one provider is remembered for.
pub(crate) const QUIRKS_MAX: usize = 1024;
/// Conversations whose planned failures a scripted model counts; beyond that it forgets them all.
pub(crate) const FAILURE_COUNTERS_MAX: usize = 4096;
/// Longest wait that is believed when a provider names one: an hour.
pub(crate) const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// Models that metrics tell apart; all further ones are one.
pub(crate) const MODELS_MEASURED_MAX: usize = 50;
