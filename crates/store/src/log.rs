//! The log of a session: appending to it, and reading it in the order of the log or of processing.
//!
//! Clients list events by `processed_at`. An entry's place in that order is its `position`: its own sequence number,
//! or, for a client's event that waited, the number of the entry that processed it. Events that still wait come last.
//!
//! Events move while a reader turns pages, so the place of a page is more than one number. It holds `p`, the place in
//! the processed part, and `s`, the last waiting event that was returned (0 if none). Going up, what follows is every
//! event at a position after `p` except those that the reader has seen waiting: they moved, but their own number is at
//! most `s`. Going down, the place fixes the head `p` at which the reader began, and events that moved above it since
//! are still listed as waiting. So every event that was there at the start is returned exactly once.

use std::sync::Arc;

use api::entry::Entry;
use api::entry::NewEntry;
use api::event_kinds::EventKind;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::time::Timestamp;
use serde_json::value::RawValue;

use crate::Append;
use crate::Appended;
use crate::Error;
use crate::Store;
use crate::backend::Batch;
use crate::backend::Order;
use crate::backend::Row;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::jobs;
use crate::limits;

/// Added to the sequence number of a public event that waits, so that it sorts behind all others.
pub(crate) const WAITING: i64 = 1 << 62;
const NUMBER_BITS: u32 = 31;
const NUMBER_MASK: i64 = (1 << NUMBER_BITS) - 1;

/// A page of public events, in the order in which they were processed.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Events of this thread.
    pub thread: Option<ThreadId>,
    /// Events of one of these types; empty for all.
    pub types: Vec<EventKind>,
    /// Only what was processed after this.
    pub processed_gt: Option<Timestamp>,
    /// Only what was processed at or after this.
    pub processed_gte: Option<Timestamp>,
    /// Only what was processed before this.
    pub processed_lt: Option<Timestamp>,
    /// Only what was processed at or before this.
    pub processed_lte: Option<Timestamp>,
    /// Which way.
    pub order: Order,
    /// The position that came with the last event of the page before, in the same order.
    pub after: Option<i64>,
    /// Events of the page.
    pub limit: usize,
}

impl Default for EventQuery {
    fn default() -> Self {
        Self {
            thread: None,
            types: Vec::new(),
            processed_gt: None,
            processed_gte: None,
            processed_lt: None,
            processed_lte: None,
            order: Order::Asc,
            after: None,
            limit: limits::ROWS_PER_READ_MAX,
        }
    }
}

const COLUMNS: &str = "seq, thread, id, kind, public, private, created_at, processed_at, processes";

impl Store {
    /// Appends to a session's log. Acknowledged only when durable, and after followers on this node were told.
    pub async fn append(&self, append: Append) -> Result<Appended, Error> {
        jobs::check(&append.jobs)?;
        self.backend.append(append).await
    }

    /// Entries after a place, in the order of the log.
    pub async fn entries(&self, session: i64, after: i64, limit: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let rows =
            self.backend.query("read the log of a session", entries_after(session, after, limit)).await?;
        rows.into_iter().map(|mut row| read(&mut row).map(Arc::new)).collect()
    }

    /// Public events, each with the position that the next page starts after.
    pub async fn events(&self, session: i64, query: &EventQuery) -> Result<Vec<(i64, Arc<Entry>)>, Error> {
        let place = Place::unpack(query.after);
        let mut events = match (query.order, place) {
            (Order::Desc, Some(place)) if place.waiting > 0 => {
                self.moved_since(session, query, place).await?
            }
            (Order::Asc | Order::Desc, _) => Vec::new(),
        };
        let op = "list the events of a session";
        let mut select = query.select(session)?;
        match (query.order, place) {
            (_, None) => {}
            (Order::Asc, Some(Place { numbered, waiting })) => {
                select.and("position >", numbered);
                if waiting > 0 {
                    select.push(" AND (position = seq OR seq > ");
                    select.arg(waiting);
                    select.push(")");
                }
            }
            (Order::Desc, Some(Place { numbered, waiting: 0 })) => select.and("position <", numbered),
            (Order::Desc, Some(Place { numbered, waiting: _ })) => select.and("position <=", numbered),
        }
        select.push(&format!(" ORDER BY position {}", query.order.sql()));
        let limit = query.limit.saturating_sub(events.len());
        if limit > 0 {
            let seen = place.filter(|_| query.order == Order::Asc).map_or(0, |place| place.waiting);
            for mut row in self.backend.query(op, select.limit(limit)).await? {
                let (position, head) = (row.int("position of an event")?, row.int("head of a session")?);
                let entry = Arc::new(read(&mut row)?);
                let place = if position > WAITING {
                    Place { numbered: head, waiting: entry.seq }
                } else {
                    Place { numbered: position, waiting: seen }
                };
                events.push((place.pack(), entry));
            }
        }
        Ok(events)
    }

    /// Events that waited when a reader who goes down began, and that it has not seen; where they are now is no matter.
    async fn moved_since(
        &self,
        session: i64,
        query: &EventQuery,
        place: Place,
    ) -> Result<Vec<(i64, Arc<Entry>)>, Error> {
        let mut select = query.select(session)?;
        select.and("position >", place.numbered);
        select.and("seq <", place.waiting);
        select.push(" AND position > seq ORDER BY seq DESC");
        let mut events = Vec::new();
        for mut row in
            self.backend.query("list waiting events of a session", select.limit(query.limit)).await?
        {
            row.int("position of an event")?;
            row.int("head of a session")?;
            let entry = Arc::new(read(&mut row)?);
            events.push((Place { numbered: place.numbered, waiting: entry.seq }.pack(), entry));
        }
        Ok(events)
    }
}

impl EventQuery {
    fn select(&self, session: i64) -> Result<Select, Error> {
        let text = format!(
            "SELECT position, (SELECT head FROM session WHERE key = $1), {COLUMNS} FROM entry
             WHERE session = $1 AND public IS NOT NULL"
        );
        let mut select = Select::new(&text, session);
        select.and_some("thread =", self.thread.as_ref());
        select.and_in("list the events of a session", "kind", self.types.iter().map(EventKind::as_str))?;
        select.and_some("processed_at >", self.processed_gt);
        select.and_some("processed_at >=", self.processed_gte);
        select.and_some("processed_at <", self.processed_lt);
        select.and_some("processed_at <=", self.processed_lte);
        Ok(select)
    }
}

/// Place of a page, as the module says. Packed, it is the position itself unless waiting events were returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    numbered: i64,
    waiting: i64,
}

impl Place {
    fn unpack(after: Option<i64>) -> Option<Self> {
        after.map(|packed| Self {
            numbered: packed & NUMBER_MASK,
            waiting: (packed >> NUMBER_BITS) & NUMBER_MASK,
        })
    }

    fn pack(self) -> i64 {
        (self.waiting << NUMBER_BITS) | self.numbered
    }
}

/// Reads entries after a place, in the order of the log.
pub(crate) fn entries_after(session: i64, after: i64, limit: usize) -> Stmt {
    let limit = i64::try_from(limit.min(limits::ROWS_PER_READ_MAX)).unwrap_or(i64::MAX);
    Stmt::new(
        "SELECT seq, thread, id, kind, public, private, created_at, processed_at, processes FROM entry
         WHERE session = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        [session.into(), after.into(), limit.into()],
    )
}

/// The first position of an entry.
pub(crate) fn position(entry: &NewEntry, seq: i64) -> i64 {
    let waits = entry.public.is_some() && entry.processed_at.is_none();
    if waits { WAITING + seq } else { seq }
}

/// Inserts the first entries of the session of this id.
pub(crate) fn insert_first(session: &SessionId, entries: Vec<NewEntry>) -> Batch {
    let mut rows: Vec<(i64, i64, NewEntry)> = Vec::with_capacity(entries.len());
    for (seq, entry) in (1..).zip(entries) {
        if let Some(processed) = &entry.processes {
            let waits = |(_, _, other): &&mut (i64, i64, NewEntry)| {
                &other.id == processed && other.processed_at.is_none()
            };
            if let Some((_, position, other)) = rows.iter_mut().find(waits) {
                *position = seq;
                other.processed_at = Some(entry.created_at);
            }
        }
        rows.push((seq, position(&entry, seq), entry));
    }
    let insert = |(seq, position, entry): (i64, i64, NewEntry)| {
        let NewEntry { thread, id, kind, public, private, created_at, processed_at, processes } = entry;
        Stmt::new(
            "INSERT INTO entry (session, seq, position, id, thread, kind, public, private, created_at, processed_at,
             processes) VALUES ((SELECT key FROM session WHERE id = $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            [
                session.into(),
                seq.into(),
                position.into(),
                Value::from(&id),
                Value::from(&thread),
                Value::from(kind.as_str()),
                public.as_deref().map(RawValue::get).into(),
                private.as_deref().map(RawValue::get).into(),
                created_at.into(),
                processed_at.into(),
                processes.as_ref().into(),
            ],
        )
    };
    rows.into_iter().map(insert).collect()
}

/// An entry from the columns that [`entries_after`] selects.
pub(crate) fn read(row: &mut Row) -> Result<Entry, Error> {
    Ok(Entry {
        seq: row.int("number of an entry")?,
        thread: row.id("thread of an entry")?,
        id: row.id("entry id")?,
        kind: EventKind::parse(&row.text("kind of an entry")?),
        public: read_raw(row, "public part of an entry")?,
        private: read_raw(row, "private part of an entry")?,
        created_at: row.time("creation of an entry")?,
        processed_at: row.optional_time("processing of an entry")?,
        processes: row.optional_id("processed event of an entry")?,
    })
}

fn read_raw(row: &mut Row, what: &'static str) -> Result<Option<Arc<RawValue>>, Error> {
    let Some(text) = row.optional_text(what)? else { return Ok(None) };
    match RawValue::from_string(text) {
        Ok(raw) => Ok(Some(raw.into())),
        Err(error) => Err(Error::Corrupt { what, value: error.to_string() }),
    }
}
