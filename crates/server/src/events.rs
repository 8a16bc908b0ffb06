//! `/v1/sessions/{id}/events`: what clients send, the history, and the stream.

use std::sync::Arc;

use api::errors::Error;
use api::events;
use api::ids::ThreadId;
use api::lists::EventList;
use api::lists::StreamOptions;
use api::page;
use api::page::Cursor;
use api::page::Page;
use api::page::Position;
use api::query::Range;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::routing::get;
use store::EventQuery;
use store::SessionRecord;

use crate::Server;
use crate::answer::Answer;
use crate::answer::json;
use crate::auth::BetaCaller;
use crate::list;
use crate::previews::Previews;
use crate::request::Body;
use crate::request::NoQuery;
use crate::sessions;
use crate::stream;
use crate::stream::StreamRequest;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/sessions/{id}/events", get(list).post(send))
        .route("/v1/sessions/{id}/events/stream", get(stream))
}

async fn send(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Answer {
    let events = events::parse_send(&body)?;
    let session = sessions::find(&caller, &id).await?;
    let stored = caller.server.harness.send(&session, events).await?;
    Ok(json(format!("{{\"data\":[{}]}}", stored.join(","))))
}

async fn list(BetaCaller(caller): BetaCaller, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let wanted = EventList::parse(query.as_deref())?;
    let session = sessions::find(&caller, &id).await?;
    history(&caller.server, &session, session.thread.clone(), wanted).await
}

async fn stream(
    BetaCaller(caller): BetaCaller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let options = StreamOptions::parse(query.as_deref())?;
    let after = last_event_id(&headers)?;
    let session = sessions::find(&caller, &id).await?;
    follow(&caller.server, &session, session.thread.clone(), options, after).await
}

/// A page of a thread's events.
pub(crate) async fn history(
    server: &Server,
    session: &SessionRecord,
    thread: ThreadId,
    wanted: EventList,
) -> Answer {
    let EventList { types, processed_at, order, limit, after } = wanted;
    let Range { gt, gte, lt, lte } = processed_at;
    let query = EventQuery {
        thread: Some(thread),
        types,
        processed_gt: gt,
        processed_gte: gte,
        processed_lt: lt,
        processed_lte: lte,
        order: list::direction(order),
        after,
        limit: limit + 1,
    };
    let rows = server.store.events(session.key, &query).await?;
    let cursor = after.map(|position| Cursor::after(order, Position::Log(position)));
    let page = Page::new(rows, limit, order, cursor.as_ref(), |(position, _)| Position::Log(*position));
    let events: Vec<String> = page.items.iter().filter_map(|(_, entry)| entry.render()).collect();
    Ok(json(page::body(&events, page.next.as_ref())))
}

/// A thread's stream.
pub(crate) async fn follow(
    server: &Arc<Server>,
    session: &SessionRecord,
    thread: ThreadId,
    options: StreamOptions,
    after: Option<i64>,
) -> Answer {
    stream::open(server, session, StreamRequest { thread, previews: Previews::new(options), after }).await
}

/// Where a client that comes back wants to go on. The empty text is what a browser sends before the first event.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Error> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|number: &i64| *number >= 0);
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::invalid("last-event-id: Input should be the `id` of an event of this stream")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &'static str) -> Result<Option<i64>, Error> {
        last_event_id(
            &std::iter::once((LAST_EVENT_ID, axum::http::HeaderValue::from_static(value))).collect(),
        )
    }

    #[test]
    fn the_last_event_id_is_a_place_in_the_log() {
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("17").unwrap(), Some(17));
        for refused in ["-1", "x", "1.5", "99999999999999999999", "sevt_1"] {
            assert!(parse(refused).is_err(), "{refused}");
        }
    }
}
