//! Durable state: records, the log of every session, leases, and the in-process hub that streams follow.
//!
//! One handle, [`Store`], over two drivers: SQLite for one machine, PostgreSQL for several. A write is acknowledged only
//! when it is durable. The log of a session is gap-free, and its sequence numbers are given out in the transaction that
//! checks the fence, so that a worker which lost its lease can never write. All SQL of the program is in this crate.

mod agents;
mod backend;
mod blobs;
mod builds;
mod environments;
mod error;
mod fence;
mod follow;
mod jobs;
mod keys;
mod leases;
mod limits;
mod list;
mod log;
mod migrate;
mod postgres;
mod records;
mod sandboxes;
mod sessions;
mod sqlite;
pub mod telemetry;
mod threads;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;

use api::time::Clock;

pub use agents::AgentColumns;
pub use agents::AgentRecord;
pub use backend::Order;
pub use blobs::Blob;
pub use blobs::BlobEntry;
pub use blobs::BlobError;
pub use blobs::BlobReader;
pub use blobs::BlobTarget;
pub use blobs::BlobWriter;
pub use blobs::Blobs;
pub use builds::BuildEnd;
pub use builds::BuildRecord;
pub use builds::BuildState;
pub use environments::EnvironmentColumns;
pub use environments::EnvironmentRecord;
pub use error::Error;
pub use fence::Append;
pub use fence::Appended;
pub use fence::Claim;
pub use fence::Fence;
pub use fence::Lease;
pub use fence::Patch;
pub use follow::Follower;
pub use follow::Preview;
pub use follow::Signal;
pub use jobs::Job;
pub use jobs::JobCounts;
pub use jobs::JobRecord;
pub use jobs::JobState;
pub use jobs::NewJob;
pub use keys::KeyColumns;
pub use keys::KeyRecord;
pub use list::ListQuery;
pub use log::EventQuery;
pub use records::Noun;
pub use records::Record;
pub use sandboxes::Checkpoint;
pub use sandboxes::KnownSession;
pub use sandboxes::SandboxRecord;
pub use sessions::NewSession;
pub use sessions::SessionQuery;
pub use sessions::SessionRecord;
pub use threads::ThreadChange;
pub use threads::ThreadRecord;
pub use waiting::Answer;
pub use waiting::Waiting;
pub use waiting::Wants;

use backend::Backend;
use follow::Hub;

/// Where the state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A SQLite database in this file, made when it is not there. The folder must exist.
    Sqlite(PathBuf),
    /// A SQLite database in memory, gone with the store. For tests.
    SqliteMemory,
    /// A PostgreSQL database: `postgres://user:password@host/name` or `key=value` pairs.
    Postgres(String),
}

/// The store. Clones are handles to the same one; the last one closes it.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    hub: Arc<Hub>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store and brings its schema up to date. `clock` times records, and leases too on SQLite; leases on
    /// PostgreSQL follow the database's clock, which all nodes share.
    pub async fn open(target: &Target, clock: Clock) -> Result<Self, Error> {
        match target {
            Target::Sqlite(path) => Self::open_sqlite(Some(path.clone()), clock).await,
            Target::SqliteMemory => Self::open_sqlite(None, clock).await,
            Target::Postgres(address) => {
                let hub = Arc::new(Hub::new(true));
                let backend = postgres::Postgres::open(address, clock, Arc::clone(&hub)).await?;
                Ok(Self::measured(Arc::new(backend), hub))
            }
        }
    }

    async fn open_sqlite(path: Option<PathBuf>, clock: Clock) -> Result<Self, Error> {
        let hub = Arc::new(Hub::new(false));
        let backend = sqlite::Sqlite::open(path, clock, Arc::clone(&hub)).await?;
        Ok(Self::measured(Arc::new(backend), hub))
    }

    fn measured(backend: Arc<dyn Backend>, hub: Arc<Hub>) -> Self {
        Self { backend: Arc::new(telemetry::Measured(backend)), hub }
    }
}
