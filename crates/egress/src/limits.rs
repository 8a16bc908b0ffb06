//! Every bound of this crate, and why it is what it is.

use std::time::Duration;

/// Connections of one session at once, when the operator says nothing: more than a browser and a package manager open.
pub const CONNECTIONS_MAX: u32 = 512;
/// Longest head of an HTTP request or response. Servers take 8 to 64 KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of one head.
pub const HEADERS_MAX: usize = 128;
/// Longest TLS `ClientHello`, over all records; with post-quantum keys they are about 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Longest DNS query that is read.
pub const QUERY_BYTES_MAX: usize = 4096;
/// DNS queries of one session that wait for the resolver at once.
pub const LOOKUPS_MAX: usize = 16;
/// Names with a fake address at once, in one session.
pub const FAKE_IPS_MAX: usize = 4096;
/// Names whose addresses are kept for a moment, in one session.
pub const RESOLVED_MAX: usize = 256;
/// How long addresses are kept: a page's worth of connections needs one lookup.
pub const RESOLVED_AGE_MAX: Duration = Duration::from_secs(15);
/// Most addresses of one name that are looked at.
pub const ADDRESSES_MAX: usize = 32;
/// Bytes that are copied at once, each way.
pub const COPY_BYTES: usize = 256 * 1024;
/// How long a client may take to say what it wants once it has begun.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a connection waits for a client's first bytes where the server may have to speak first.
pub const SNIFF_TIME_MAX: Duration = Duration::from_millis(150);
/// How long a connection lives without a byte either way.
pub const IDLE_TIME_MAX: Duration = Duration::from_mins(15);
/// How long connecting to a host may take, over all its addresses.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long one of several addresses is tried.
pub const ADDRESS_TIME_MAX: Duration = Duration::from_secs(4);
/// How long looking up a name may take.
pub const RESOLVE_TIME_MAX: Duration = Duration::from_secs(8);
/// Lookups at once, over all sessions.
pub const RESOLVES_MAX: usize = 48;
/// How long a refused client may take to read why.
pub const CLOSING_TIME_MAX: Duration = Duration::from_secs(2);
/// What is still read from a refused client so that it sees the answer instead of a reset.
pub const CLOSING_BYTES_MAX: usize = 256 * 1024;
/// Decisions that a session remembers.
pub const DECISIONS_MAX: usize = 1000;
/// Decisions in one report.
pub const REPORTED_MAX: usize = 200;
/// Size at which a usage log's file is put aside; one former file is kept.
pub const USAGE_LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes after which the totals are written down although no connection ended: what a crash may forget.
pub const UNWRITTEN_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Longest message of the spawner or a server.
pub const MESSAGE_BYTES_MAX: usize = 384 * 1024;
/// Most descriptors with one message.
pub const DESCRIPTORS_MAX: usize = 16;
/// Sessions at once.
pub const SESSIONS_MAX: usize = 4096;
/// Servers that ask for reports at once.
pub const CLIENTS_MAX: usize = 32;
/// How long an answer of this process is waited for.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long an unused connection of the client is kept: shorter than most servers keep theirs.
pub const POOL_IDLE_TIME_MAX: Duration = Duration::from_secs(50);
/// Unused connections of the client that are kept for one host.
pub const POOLED_PER_HOST_MAX: usize = 4;
/// Names of one session with a certificate at hand.
pub const LEAVES_MAX: usize = 256;
/// Age at which a certificate for a name is issued anew: well within its validity of 30 days.
pub const LEAF_AGE_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a connection waits for the server to say what its session may reach, after this process started anew.
pub const GRANT_TIME_MAX: Duration = Duration::from_secs(5);
/// Grants that are kept, also of sessions whose sandboxes have ended; the oldest of those gives way.
pub const GRANTS_MAX: usize = 2 * SESSIONS_MAX;
/// Changes of grants that wait to be sent to the egress process.
pub const CHANGES_MAX: usize = 256;
