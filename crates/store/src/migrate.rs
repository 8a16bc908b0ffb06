//! The schema's versions. Migrations only add, so that an older server still works on a newer schema; each runs in a
//! transaction of its own and is noted in the table `migration`.

/// One step of the schema.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// All steps, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "foundation",
        sqlite: include_str!("../../../migrations/sqlite/0001_foundation.sql"),
        postgres: include_str!("../../../migrations/postgres/0001_foundation.sql"),
    },
    Migration {
        version: 2,
        name: "sandbox",
        sqlite: include_str!("../../../migrations/sqlite/0002_sandbox.sql"),
        postgres: include_str!("../../../migrations/postgres/0002_sandbox.sql"),
    },
    Migration {
        version: 3,
        name: "build",
        sqlite: include_str!("../../../migrations/sqlite/0003_build.sql"),
        postgres: include_str!("../../../migrations/postgres/0003_build.sql"),
    },
    Migration {
        version: 4,
        name: "job",
        sqlite: include_str!("../../../migrations/sqlite/0004_job.sql"),
        postgres: include_str!("../../../migrations/postgres/0004_job.sql"),
    },
    Migration {
        version: 5,
        name: "key",
        sqlite: include_str!("../../../migrations/sqlite/0005_key.sql"),
        postgres: include_str!("../../../migrations/postgres/0005_key.sql"),
    },
    Migration {
        version: 6,
        name: "thread",
        sqlite: include_str!("../../../migrations/sqlite/0006_thread.sql"),
        postgres: include_str!("../../../migrations/postgres/0006_thread.sql"),
    },
];

/// Key of the advisory lock under which a PostgreSQL schema is changed: the first letters of the program's name.
pub(crate) const LOCK: i64 = 0x006a_6f75_726e_6579;

/// The ledger; the same text for both databases.
pub(crate) const LEDGER: &str = "CREATE TABLE IF NOT EXISTS migration (version bigint PRIMARY KEY, name text NOT NULL, applied_at bigint NOT NULL)";
/// The newest step that was taken.
pub(crate) const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM migration";
/// Notes a step.
pub(crate) const NOTE: &str = "INSERT INTO migration (version, name, applied_at) VALUES ($1, $2, $3)";
