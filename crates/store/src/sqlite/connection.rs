//! SQLite connections: settings, the schema, and running one statement.

use std::path::Path;
use std::time::Duration;

use api::time::Clock;
use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::ToSql;
use rusqlite::functions::FunctionFlags;
use rusqlite::params_from_iter;
use rusqlite::types::ToSqlOutput;
use rusqlite::types::ValueRef;

use crate::backend::Row;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::error::Error;
use crate::limits;
use crate::migrate;

/// The only connection that writes.
pub(crate) fn open_writer(path: Option<&Path>, clock: &Clock) -> Result<Connection, Error> {
    let fail = |error| Error::database("open the database", error);
    let connection = match path {
        Some(path) => {
            make_private(path)?;
            Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )
        }
        None => Connection::open_in_memory(),
    };
    let connection = connection.map_err(fail)?;
    let settings = || {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", limits::CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", limits::CHECKPOINT_PAGES * 4096 * 2)?;
        connection.pragma_update(None, "cache_size", -16 * 1024)?;
        prepare(&connection, clock)
    };
    settings().map_err(fail)?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path, clock: &Clock) -> Result<Connection, Error> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "cache_size", -8 * 1024)?;
        prepare(&connection, clock)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| Error::database("open the database for reading", error))
}

fn prepare(connection: &Connection, clock: &Clock) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(limits::BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(limits::STATEMENTS_CACHED_MAX);
    let clock = clock.clone();
    connection.create_scalar_function("lease_now", 0, FunctionFlags::SQLITE_UTF8, move |_| Ok(clock.now().0))
}

/// Makes the file, readable by its owner alone, if it is not there; SQLite gives its other files the same mode.
fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| Error::File { op: "open", path: path.to_owned(), source })
}

/// Brings the schema up to date.
pub(crate) fn migrate(connection: &mut Connection, clock: &Clock) -> Result<(), Error> {
    let fail = |error| Error::database("migrate the database", error);
    connection.execute(migrate::LEDGER, []).map_err(fail)?;
    let newest: i64 = connection.query_row(migrate::NEWEST, [], |row| row.get(0)).map_err(fail)?;
    for step in migrate::MIGRATIONS.iter().filter(|step| step.version > newest) {
        let fail = |error| Error::database(format!("migrate the database to {}", step.name), error);
        let transaction = connection.transaction().map_err(fail)?;
        transaction.execute_batch(step.sqlite).map_err(fail)?;
        transaction.execute(migrate::NOTE, (step.version, step.name, clock.now().0)).map_err(fail)?;
        transaction.commit().map_err(fail)?;
    }
    Ok(())
}

/// Runs a read-only statement.
pub(crate) fn query(connection: &Connection, op: &'static str, stmt: &Stmt) -> Result<Vec<Row>, Error> {
    run(connection, stmt).map(|(rows, _)| rows).map_err(|error| Error::database(op, error))
}

/// Runs any statement: the rows it returned, and how many it returned or touched.
pub(crate) fn run(connection: &Connection, stmt: &Stmt) -> rusqlite::Result<(Vec<Row>, usize)> {
    let mut prepared = connection.prepare_cached(&stmt.sql)?;
    let columns = prepared.column_count();
    if columns == 0 {
        let touched = prepared.execute(params_from_iter(&stmt.args))?;
        return Ok((Vec::new(), touched));
    }
    let mut found = prepared.query(params_from_iter(&stmt.args))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>()?;
        rows.push(Row::new(values));
    }
    let count = rows.len();
    Ok((rows, count))
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        // No column holds a floating-point number; one that does is reported as corrupt by whoever reads it.
        ValueRef::Real(value) => Value::Blob(value.to_le_bytes().to_vec()),
        ValueRef::Text(value) => match std::str::from_utf8(value) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(value.to_vec()),
        },
        ValueRef::Blob(value) => Value::Blob(value.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}
