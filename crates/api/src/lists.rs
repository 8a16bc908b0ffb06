//! Parameters of every list: filters, order, limit, and the page's cursor.

use crate::errors::Error;
use crate::event_kinds::EventKind;
use crate::events::PREVIEWED;
use crate::ids::AgentId;
use crate::limits::LONG_PAGE_MAX;
use crate::limits::PAGE_DEFAULT;
use crate::limits::PAGE_MAX;
use crate::page::Cursor;
use crate::page::Order;
use crate::page::Position;
use crate::query::Query;
use crate::query::Range;
use crate::query::refuse;
use crate::sessions::SessionStatus;
use crate::time::Timestamp;

/// A list of records by creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordList {
    pub created_at: Range,
    /// Shows archived ones too.
    pub include_archived: bool,
    /// Order of creation.
    pub order: Order,
    /// Records on the page.
    pub limit: usize,
    /// Where the page begins.
    pub page: Option<Keyset>,
}

/// `GET /v1/agents/{id}/versions`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionList {
    /// Versions on the page.
    pub limit: usize,
    /// Only versions before this one.
    pub before: Option<i64>,
}

/// `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionList {
    pub base: RecordList,
    /// Only those of this agent.
    pub agent_id: Option<AgentId>,
    /// Only those of this version of the agent; `None` when no agent is named.
    pub agent_version: Option<i64>,
    /// Only those of this deployment.
    pub deployment_id: Option<String>,
    /// Only those with this memory store.
    pub memory_store_id: Option<String>,
    /// Only those in one of these states; empty for all.
    pub statuses: Vec<SessionStatus>,
}

/// A place in a list by creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    /// Creation of the object next to the page.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
    /// The cursor itself, for [`crate::page::Page::new`] and [`Cursor::scan`].
    pub cursor: Cursor,
}

/// `GET /v1/sessions/{id}/events`, and the events of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventList {
    /// Only these types; empty for all.
    pub types: Vec<EventKind>,
    /// Time of processing.
    pub processed_at: Range,
    /// Order of processing.
    pub order: Order,
    /// Events on the page.
    pub limit: usize,
    /// The position next to the page.
    pub after: Option<i64>,
}

/// `GET /v1/sessions/{id}/threads`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadList {
    /// Only those in one of these states; empty for all.
    pub statuses: Vec<SessionStatus>,
    /// Threads on the page.
    pub limit: usize,
    /// Where the page begins.
    pub page: Option<Keyset>,
}

/// The streams of a session and of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Messages are previewed while they are written.
    pub previews_messages: bool,
    /// The beginning of thinking is shown.
    pub previews_thinking: bool,
}

/// `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelList {
    /// Models after this one.
    pub after_id: Option<String>,
    /// Models before this one.
    pub before_id: Option<String>,
    /// Models on the page.
    pub limit: usize,
    /// Models in use are asked for; ours all are.
    pub includes_active: bool,
}

/// Models on a page when the request does not say (documented).
const MODELS_DEFAULT: usize = 20;

/// Parameters that a [`RecordList`] is made of.
const PAGE: [&str; 3] = ["include_archived", "limit", "page"];
const CREATED: [&str; 4] = ["created_at[gt]", "created_at[gte]", "created_at[lt]", "created_at[lte]"];

impl RecordList {
    /// Reads the query string of a list, newest first, that has no filter on the time of creation.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        Self::read(&Query::parse(raw, &PAGE)?, Order::Desc)
    }

    /// Reads the query string of a list, newest first, with a filter on the time of creation.
    pub fn parse_created(raw: Option<&str>) -> Result<Self, Error> {
        Self::read(&Query::parse(raw, &[&PAGE[..], &CREATED].concat())?, Order::Desc)
    }

    fn read(query: &Query, order: Order) -> Result<Self, Error> {
        let created_at = query.created_at()?;
        Ok(Self {
            created_at,
            include_archived: query.boolean("include_archived")?,
            order,
            limit: query.limit(PAGE_DEFAULT, PAGE_MAX)?,
            page: keyset(query, order, Some(&created_at))?,
        })
    }
}

impl VersionList {
    /// Reads a query string.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        let query = Query::parse(raw, &["limit", "page"])?;
        let before = match query.page(Order::Desc)? {
            None => None,
            Some(Cursor { position: Position::Version(version), is_backward: false, .. }) => Some(version),
            Some(_) => return Err(foreign()),
        };
        Ok(Self { limit: query.limit(PAGE_DEFAULT, PAGE_MAX)?, before })
    }
}

impl SessionList {
    /// Reads a query string.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        let own = ["agent_id", "agent_version", "deployment_id", "memory_store_id", "order", "statuses"];
        let query = Query::parse(raw, &[&PAGE[..], &CREATED, &own].concat())?;
        let order = query.order(Order::Desc)?;
        let agent_id = match query.text("agent_id")? {
            None => None,
            Some(text) => match AgentId::parse(text) {
                Some(id) => Some(id),
                None => {
                    return Err(refuse(
                        "agent_id",
                        "Input should be an agent's id, which starts with 'agent_'",
                    ));
                }
            },
        };
        let agent_version = query.positive("agent_version")?.filter(|_| agent_id.is_some());
        Ok(Self {
            base: RecordList::read(&query, order)?,
            agent_id,
            agent_version,
            deployment_id: query.text("deployment_id")?.map(str::to_owned),
            memory_store_id: query.text("memory_store_id")?.map(str::to_owned),
            statuses: statuses(&query)?,
        })
    }
}

impl EventList {
    /// Reads the query string of a session's events.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        Self::read(&Query::parse(raw, &[&CREATED[..], &["limit", "order", "page", "types"]].concat())?)
    }

    /// Reads the query string of a thread's events, which takes less.
    pub fn parse_thread(raw: Option<&str>) -> Result<Self, Error> {
        Self::read(&Query::parse(raw, &["limit", "page"])?)
    }

    fn read(query: &Query) -> Result<Self, Error> {
        let order = query.order(Order::Asc)?;
        let after = match query.page(order)? {
            None => None,
            Some(Cursor { position: Position::Log(position), is_backward: false, .. }) => Some(position),
            Some(_) => return Err(foreign()),
        };
        Ok(Self {
            types: kinds(query, "types", &EventKind::listed())?,
            processed_at: query.created_at()?,
            order,
            limit: query.limit(LONG_PAGE_MAX, LONG_PAGE_MAX)?,
            after,
        })
    }
}

impl ThreadList {
    /// Reads a query string.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        let query = Query::parse(raw, &["limit", "page", "statuses"])?;
        Ok(Self {
            statuses: statuses(&query)?,
            limit: query.limit(LONG_PAGE_MAX, LONG_PAGE_MAX)?,
            page: keyset(&query, Order::Asc, None)?,
        })
    }
}

impl StreamOptions {
    /// Reads a query string.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        let query = Query::parse(raw, &["event_deltas"])?;
        let previewed = PREVIEWED.each_ref().map(EventKind::as_str);
        let previewed = kinds(&query, "event_deltas", &previewed)?;
        Ok(Self {
            previews_messages: previewed.contains(&EventKind::AgentMessage),
            previews_thinking: previewed.contains(&EventKind::AgentThinking),
        })
    }

    /// Events of this type are previewed.
    pub fn previews(&self, kind: &EventKind) -> bool {
        (self.previews_messages && *kind == EventKind::AgentMessage)
            || (self.previews_thinking && *kind == EventKind::AgentThinking)
    }
}

impl ModelList {
    /// Reads a query string.
    pub fn parse(raw: Option<&str>) -> Result<Self, Error> {
        let query = Query::parse(raw, &["after_id", "before_id", "lifecycle", "limit"])?;
        let lifecycle = query.choices("lifecycle", &["active", "deprecated", "retired"])?;
        Ok(Self {
            after_id: query.text("after_id")?.map(str::to_owned),
            before_id: query.text("before_id")?.map(str::to_owned),
            limit: query.limit(MODELS_DEFAULT, LONG_PAGE_MAX)?,
            includes_active: lifecycle.is_empty() || lifecycle.iter().any(|stage| stage == "active"),
        })
    }
}

/// The `version` of `GET /v1/agents/{id}`; `None` for the newest.
pub fn parse_agent_version(raw: Option<&str>) -> Result<Option<i64>, Error> {
    Query::parse(raw, &["version"])?.positive("version")
}

/// Refuses every parameter, for routes that take none.
pub fn parse_none(raw: Option<&str>) -> Result<(), Error> {
    Query::parse(raw, &[]).map(|_| ())
}

fn statuses(query: &Query) -> Result<Vec<SessionStatus>, Error> {
    let names = query.choices("statuses", &SessionStatus::ALL.map(SessionStatus::as_str))?;
    Ok(names.iter().filter_map(|name| SessionStatus::parse(name)).collect())
}

fn kinds(query: &Query, name: &str, choices: &[&str]) -> Result<Vec<EventKind>, Error> {
    Ok(query.choices(name, choices)?.iter().map(|name| EventKind::parse(name)).collect())
}

fn keyset(query: &Query, order: Order, range: Option<&Range>) -> Result<Option<Keyset>, Error> {
    let Some(cursor) = query.page(order)? else {
        return Ok(None);
    };
    let Position::Created { at, id } = cursor.position.clone() else {
        return Err(foreign());
    };
    if range.is_some_and(|range| !range.contains(at)) {
        return Err(refuse("page", "The cursor lies outside of the `created_at` filter"));
    }
    Ok(Some(Keyset { at, id, cursor }))
}

fn foreign() -> Error {
    refuse("page", "The cursor belongs to another list")
}
