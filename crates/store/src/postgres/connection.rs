//! PostgreSQL connections: settings, the schema, and running statements.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use api::time::Clock;
use bytes::BytesMut;
use deadpool_postgres::GenericClient as _;
use deadpool_postgres::Hook;
use deadpool_postgres::HookError;
use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Object;
use deadpool_postgres::Pool;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::Config;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::IsNull;
use tokio_postgres::types::ToSql;
use tokio_postgres::types::Type;
use tokio_util::task::TaskTracker;

use super::failure::Failure;
use super::failure::words;
use crate::backend::Batch;
use crate::backend::Outcome;
use crate::backend::Row;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::error::Error;
use crate::limits;
use crate::migrate;

/// Every connection's settings. A commit waits for the disk even where the server's default says that it need not, and
/// a transaction whose process hangs does not keep its rows.
const SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off';
    SET idle_in_transaction_session_timeout = '10s'";

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tasks: TaskTracker,
}

impl Connector {
    pub(crate) fn new(address: &str, tasks: TaskTracker) -> Result<Self, Error> {
        // The address holds a password: the parser's words do not repeat it, and neither do ours.
        let mut config: Config = address.parse().map_err(|error: tokio_postgres::Error| {
            Error::Unsupported { what: format!("the PostgreSQL address is not valid: {}", words(&error)) }
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            let what = "sslmode=require: this build has no TLS for PostgreSQL. Use sslmode=disable over a private \
                        network, a Unix socket, or a TLS tunnel beside the server";
            return Err(Error::Unsupported { what: what.to_owned() });
        }
        if config.get_application_name().is_none() {
            config.application_name("journeyman");
        }
        let silence_max = Duration::from_millis(limits::DATABASE_SILENCE_MS);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(limits::CONNECT_TIMEOUT_MS));
        }
        // The defaults of TCP find out after a quarter of an hour, or after two, that a server has vanished.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(silence_max);
        }
        config.keepalives_idle(silence_max).keepalives_interval(silence_max / 5).keepalives_retries(3);
        Ok(Self { config, tasks })
    }

    /// How long the server may be silent: `tcp_user_timeout` of the address, or 10 s.
    pub(crate) fn silence_max(&self) -> Duration {
        self.config
            .get_tcp_user_timeout()
            .copied()
            .unwrap_or(Duration::from_millis(limits::DATABASE_SILENCE_MS))
    }

    /// A connection for statements.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to PostgreSQL ended: {}", words(&error));
            }
        });
        client.batch_execute(SETTINGS).await?;
        Ok(client)
    }

    /// A connection whose notifications the caller reads.
    pub(crate) async fn connect_raw(
        &self,
    ) -> Result<
        (Client, tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>),
        Failure,
    > {
        self.config.connect(NoTls).await.map_err(Failure::before_commit)
    }

    /// Starts a task that ends by itself.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(crate) fn pool(&self) -> Result<Pool, Error> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), NoTls, config);
        let connect = Some(Duration::from_millis(limits::CONNECT_TIMEOUT_MS));
        let settings = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(limits::CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.silence_max()))
            .create_timeout(connect)
            .recycle_timeout(connect)
            .post_create(settings)
            .build();
        pool.map_err(|error| Error::database("make a pool of connections to PostgreSQL", error))
    }
}

/// Brings the schema up to date. Nodes that start together take turns.
pub(crate) async fn migrate(connector: &Connector, clock: &Clock) -> Result<(), Error> {
    let op = "connect to PostgreSQL";
    let mut client = connector.connect().await.map_err(|error| Error::database(op, error))?;
    let fail = |error| Error::database("migrate the database", error);
    loop {
        let transaction = client.transaction().await.map_err(fail)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await.map_err(fail)?;
        transaction.batch_execute(migrate::LEDGER).await.map_err(fail)?;
        let newest: i64 = transaction.query_one(migrate::NEWEST, &[]).await.map_err(fail)?.get(0);
        let Some(step) = migrate::MIGRATIONS.iter().find(|step| step.version > newest) else {
            return transaction.commit().await.map_err(fail);
        };
        let fail = |error| Error::database(format!("migrate the database to {}", step.name), error);
        transaction.batch_execute(step.postgres).await.map_err(fail)?;
        let now = clock.now().0;
        transaction.execute(migrate::NOTE, &[&step.version, &step.name, &now]).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
    }
}

/// Reads. A broken connection is replaced.
pub(crate) async fn query(pool: &Pool, op: &'static str, stmt: &Stmt) -> Result<Vec<Row>, Error> {
    let mut attempt = 1;
    loop {
        match try_query(pool, stmt).await {
            Ok(rows) => return Ok(rows),
            Err(failure) if failure.is_worth_another_attempt() && attempt < limits::ATTEMPTS_MAX => {
                failure.pause(attempt).await;
                attempt += 1;
            }
            Err(failure) => return Err(failure.into_error(op)),
        }
    }
}

async fn try_query(pool: &Pool, stmt: &Stmt) -> Result<Vec<Row>, Failure> {
    let client = pool.get().await?;
    if let Ok(rows) = timeout(silence_max(pool), read_rows(&client, stmt)).await {
        return rows;
    }
    // The next caller gets another connection, which may lead to another server.
    drop(Object::take(client));
    Err(Failure::Refused("the database did not answer in time".into()))
}

/// How long a connection of the pool may be silent: as long as one is waited for.
fn silence_max(pool: &Pool) -> Duration {
    pool.timeouts().wait.unwrap_or(Duration::from_millis(limits::DATABASE_SILENCE_MS))
}

async fn read_rows(client: &Object, stmt: &Stmt) -> Result<Vec<Row>, Failure> {
    let rows = match &stmt.sql {
        Cow::Borrowed(sql) => {
            let prepared = client.prepare_cached(sql).await.map_err(Failure::before_commit)?;
            client.query(&prepared, &arguments(stmt)).await
        }
        // Put together for this call: kept nowhere, so that connections do not collect statements.
        Cow::Owned(sql) => {
            let args: Vec<(&(dyn ToSql + Sync), Type)> =
                stmt.args.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
            client.query_typed(sql, &args).await
        }
    };
    rows.map_err(Failure::before_commit)?.iter().map(read).collect()
}

/// One attempt at a batch. Statements up to one that demands a number of rows are sent together.
pub(crate) async fn commit(pool: &Pool, batch: &Batch) -> Result<Outcome, Failure> {
    let mut client = pool.get().await?;
    if let Ok(outcome) = timeout(silence_max(pool), try_commit(&mut client, batch)).await {
        return outcome;
    }
    drop(Object::take(client));
    Err(Failure::Unknown("the database did not answer in time".into()))
}

async fn try_commit(client: &mut Object, batch: &Batch) -> Result<Outcome, Failure> {
    // Dropping the transaction before its commit rolls it back.
    let transaction = client.transaction().await.map_err(Failure::before_commit)?;
    let mut results = Vec::with_capacity(batch.len());
    for stmts in batch
        .split_inclusive(|stmt| stmt.rows.is_some())
        .flat_map(|part| part.chunks(limits::STATEMENTS_PIPELINED_MAX))
    {
        let mut prepared = Vec::with_capacity(stmts.len());
        for stmt in stmts {
            prepared.push(transaction.prepare_cached(&stmt.sql).await.map_err(Failure::before_commit)?);
        }
        let run = async |(stmt, prepared): (&Stmt, &tokio_postgres::Statement)| {
            if prepared.columns().is_empty() {
                let touched = transaction.execute(prepared, &arguments(stmt)).await?;
                return Ok((Vec::new(), usize::try_from(touched).unwrap_or(usize::MAX)));
            }
            let rows = transaction.query(prepared, &arguments(stmt)).await?;
            let touched = rows.len();
            Ok((rows, touched))
        };
        for (stmt, result) in stmts.iter().zip(join_all(stmts.iter().zip(&prepared).map(run)).await) {
            let (rows, touched) = result.map_err(Failure::before_commit)?;
            if stmt.rows.is_some_and(|rows| rows != touched) {
                return Ok(Outcome::Refused);
            }
            results.push(rows.iter().map(read).collect::<Result<_, _>>()?);
        }
    }
    transaction.commit().await.map_err(Failure::with_commit)?;
    Ok(Outcome::Done(results))
}

fn arguments(stmt: &Stmt) -> Vec<&(dyn ToSql + Sync)> {
    stmt.args.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// A row in the store's own terms.
pub(crate) fn read(row: &tokio_postgres::Row) -> Result<Row, Failure> {
    let value = |(column, kind): (usize, &tokio_postgres::Column)| {
        let value = match *kind.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Value::Int),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column)?.map(Value::Blob),
            _ => row.try_get::<_, Option<String>>(column)?.map(Value::Text),
        };
        Ok(value.unwrap_or(Value::Null))
    };
    let values: Result<Vec<Value>, tokio_postgres::Error> =
        row.columns().iter().enumerate().map(value).collect();
    values.map(Row::new).map_err(|error| Failure::Refused(error.into()))
}

impl Value {
    fn kind(&self) -> Type {
        match self {
            Self::Null | Self::Text(_) => Type::TEXT,
            Self::Int(_) => Type::INT8,
            Self::Blob(_) => Type::BYTEA,
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *kind == Type::INT8 => value.to_sql(kind, out),
            Self::Text(value) if *kind == Type::TEXT => value.to_sql(kind, out),
            Self::Blob(value) if *kind == Type::BYTEA => value.to_sql(kind, out),
            Self::Int(_) | Self::Text(_) | Self::Blob(_) => Err(format!("{self:?} is no {kind}").into()),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    tokio_postgres::types::to_sql_checked!();
}
