//! The narrow door between the store's records and its two drivers.
//!
//! A read is one statement. A write is a [`Batch`]: statements that take effect together or not at all, each of which
//! may demand how many rows it touches. SQL texts are the same for both drivers: `$n` numbered in order of first use,
//! bigint, text and blob only, microseconds for times, `lease_now()` for the clock of leases (a function that both
//! databases are given), no other function of time, no boolean. Appends to the log have their own, tuned path.

use std::borrow::Cow;

use api::ids::Id;
use api::ids::Kind;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use async_trait::async_trait;

use crate::Append;
use crate::Appended;
use crate::error::Error;
use crate::limits;

/// A value on its way into or out of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// One statement with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Stmt {
    /// Borrowed texts are prepared once per connection; owned ones were put together for one call.
    pub(crate) sql: Cow<'static, str>,
    pub(crate) args: Vec<Value>,
    /// Number of rows that it must touch or return, if that matters.
    pub(crate) rows: Option<usize>,
    /// Whether workers are woken when it has become durable.
    pub(crate) announces_job: bool,
}

/// Statements that take effect together.
pub(crate) type Batch = Vec<Stmt>;

/// Result of a batch that the database itself did not fail on.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Durable. The rows that each statement returned.
    Done(Vec<Vec<Row>>),
    /// Nothing happened: this statement touched another number of rows than it must.
    Refused,
    /// Nothing happened: a unique key is there already.
    Duplicate,
    /// Nothing happened: a row that must be referred to is not there, or one that is referred to would go.
    Dangling,
}

/// A driver.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Reads. Sees every write that was acknowledged before.
    async fn query(&self, op: &'static str, stmt: Stmt) -> Result<Vec<Row>, Error>;
    /// Writes all or nothing.
    async fn commit(&self, op: &'static str, batch: Batch) -> Result<Outcome, Error>;
    /// Appends to a session's log, and tells its followers, before it returns.
    async fn append(&self, append: Append) -> Result<Appended, Error>;
    /// The end of a subquery whose rows are locked, without waiting for those that somebody else has locked.
    fn skip_locked(&self) -> &'static str;
}

impl Stmt {
    pub(crate) fn new(sql: &'static str, args: impl Into<Vec<Value>>) -> Self {
        Self { sql: Cow::Borrowed(sql), args: args.into(), rows: None, announces_job: false }
    }

    /// The same statement, which must touch exactly one row.
    pub(crate) fn one(mut self) -> Self {
        self.rows = Some(1);
        self
    }
}

/// A query that is put together from filters.
pub(crate) struct Select {
    sql: String,
    args: Vec<Value>,
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    #[default]
    Desc,
}

impl Select {
    /// Starts with a text that ends in a condition whose parameter is `$1`.
    pub(crate) fn new(sql: &str, first: impl Into<Value>) -> Self {
        Self::with(sql, vec![first.into()])
    }

    /// The same with parameters `$1` and on.
    pub(crate) fn with(sql: &str, args: Vec<Value>) -> Self {
        Self { sql: sql.to_owned(), args }
    }

    pub(crate) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Adds a parameter, and its name to the text.
    pub(crate) fn arg(&mut self, value: impl Into<Value>) {
        self.args.push(value.into());
        self.sql.push('$');
        self.sql.push_str(&self.args.len().to_string());
    }

    /// Adds `AND left value`, for example `AND created_at > $3`.
    pub(crate) fn and(&mut self, left: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(left);
        self.sql.push(' ');
        self.arg(value);
    }

    /// The same, when there is a value.
    pub(crate) fn and_some(&mut self, left: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(left, value);
        }
    }

    /// Adds `AND column IN (...)`; an empty list filters nothing.
    pub(crate) fn and_in<'a>(
        &mut self,
        op: &'static str,
        column: &str,
        values: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let (size, max) = (values.len(), limits::FILTER_VALUES_MAX);
        if size > max {
            return Err(Error::TooLarge { op, what: "values of a filter", size, max });
        }
        for (index, value) in values.enumerate() {
            self.push(&if index == 0 { format!(" AND {column} IN (") } else { ", ".to_owned() });
            self.arg(value);
        }
        if size > 0 {
            self.push(")");
        }
        Ok(())
    }

    /// Adds the limit, and ends the query.
    pub(crate) fn limit(mut self, rows: usize) -> Stmt {
        let rows = i64::try_from(rows.min(limits::ROWS_PER_READ_MAX)).unwrap_or(i64::MAX);
        self.push(" LIMIT ");
        self.arg(rows);
        Stmt { sql: Cow::Owned(self.sql), args: self.args, rows: None, announces_job: false }
    }
}

impl Order {
    /// The word of SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Asc => "ASC",
            Self::Desc => "DESC",
        }
    }

    /// The comparison that what comes later in this order satisfies.
    pub(crate) fn past(self) -> &'static str {
        match self {
            Self::Asc => ">",
            Self::Desc => "<",
        }
    }
}

/// A row, read from left to right.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i64, Error> {
        match self.next() {
            Value::Int(value) => Ok(value),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn optional_int(&mut self, what: &'static str) -> Result<Option<i64>, Error> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(value)),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Error> {
        match self.next() {
            Value::Text(value) => Ok(value),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn optional_text(&mut self, what: &'static str) -> Result<Option<String>, Error> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        match self.next() {
            Value::Blob(value) => value.try_into().map_err(|value| corrupt(what, &Value::Blob(value))),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn id<K: Kind>(&mut self, what: &'static str) -> Result<Id<K>, Error> {
        parse_id(what, self.text(what)?)
    }

    pub(crate) fn optional_id<K: Kind>(&mut self, what: &'static str) -> Result<Option<Id<K>>, Error> {
        self.optional_text(what)?.map(|text| parse_id(what, text)).transpose()
    }

    /// A column of JSON text.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self, what: &'static str) -> Result<T, Error> {
        let text = self.text(what)?;
        serde_json::from_str(&text)
            .map_err(|_| Error::Corrupt { what, value: text.chars().take(80).collect() })
    }

    pub(crate) fn status(&mut self, what: &'static str) -> Result<SessionStatus, Error> {
        let name = self.text(what)?;
        SessionStatus::parse(&name).ok_or(Error::Corrupt { what, value: name })
    }

    pub(crate) fn time(&mut self, what: &'static str) -> Result<Timestamp, Error> {
        self.int(what).map(Timestamp)
    }

    pub(crate) fn optional_time(&mut self, what: &'static str) -> Result<Option<Timestamp>, Error> {
        Ok(self.optional_int(what)?.map(Timestamp))
    }
}

fn parse_id<K: Kind>(what: &'static str, text: String) -> Result<Id<K>, Error> {
    Id::parse(&text).ok_or(Error::Corrupt { what, value: text })
}

fn corrupt(what: &'static str, value: &Value) -> Error {
    let value = match value {
        Value::Null => "null".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Text(value) => value.chars().take(80).collect(),
        Value::Blob(value) => format!("{} bytes", value.len()),
    };
    Error::Corrupt { what, value }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.0)
    }
}

impl<K: Kind> From<&Id<K>> for Value {
    fn from(value: &Id<K>) -> Self {
        Self::Text(value.as_str().to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
