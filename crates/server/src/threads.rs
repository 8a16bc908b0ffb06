//! `/v1/sessions/{id}/threads`: the primary thread, its events and its stream. There are no others yet.

use std::sync::Arc;

use api::errors::Error;
use api::ids::ThreadId;
use api::lists::EventList;
use api::lists::StreamOptions;
use api::lists::ThreadList;
use api::page;
use api::threads::Thread;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::routing::post;
use store::SessionRecord;
use store::ThreadRecord;

use crate::Server;
use crate::answer::Answer;
use crate::answer::json;
use crate::auth::BetaCaller;
use crate::error;
use crate::error::Failure;
use crate::events;
use crate::request::NoQuery;
use crate::sessions;

const THREAD: &str = "thread";

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/sessions/{id}/threads", get(list))
        .route("/v1/sessions/{id}/threads/{thread}", get(retrieve))
        .route("/v1/sessions/{id}/threads/{thread}/archive", post(archive))
        .route("/v1/sessions/{id}/threads/{thread}/events", get(history))
        .route("/v1/sessions/{id}/threads/{thread}/stream", get(stream))
}

async fn list(BetaCaller(caller): BetaCaller, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let ThreadList { statuses, limit: _, page: place } = ThreadList::parse(query.as_deref())?;
    let session = sessions::find(&caller, &id).await?;
    let server = &caller.server;
    // All threads are on the first page; whatever a cursor names lies behind them.
    let rows = if place.is_none() { server.store.threads(session.key).await? } else { Vec::new() };
    let wanted = rows.iter().filter(|row| statuses.is_empty() || statuses.contains(&row.status));
    let threads = wanted.map(|row| render(server, &session, row)).collect::<Result<Vec<_>, _>>()?;
    Ok(json(page::body(&threads, None)))
}

async fn retrieve(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path((id, thread)): Path<(String, String)>,
) -> Answer {
    let session = sessions::find(&caller, &id).await?;
    let rows = caller.server.store.threads(session.key).await?;
    let row = rows.iter().find(|row| row.id.as_str() == thread);
    let row = row.ok_or_else(|| error::not_found(THREAD, &thread))?;
    Ok(json(render(&caller.server, &session, row)?))
}

async fn archive(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path((id, thread)): Path<(String, String)>,
) -> Answer {
    let session = sessions::find(&caller, &id).await?;
    let thread = find(&session, &thread)?;
    let message =
        format!("thread `{thread}` is the primary one and cannot be archived; archive its session instead");
    Err(Error::invalid(message).into())
}

async fn history(
    BetaCaller(caller): BetaCaller,
    Path((id, thread)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let wanted = EventList::parse_thread(query.as_deref())?;
    let session = sessions::find(&caller, &id).await?;
    let thread = find(&session, &thread)?;
    events::history(&caller.server, &session, thread, wanted).await
}

async fn stream(
    BetaCaller(caller): BetaCaller,
    Path((id, thread)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let options = StreamOptions::parse(query.as_deref())?;
    let after = events::last_event_id(&headers)?;
    let session = sessions::find(&caller, &id).await?;
    let thread = find(&session, &thread)?;
    events::follow(&caller.server, &session, thread, options, after).await
}

fn find(session: &SessionRecord, thread: &str) -> Result<ThreadId, Failure> {
    if session.thread.as_str() == thread {
        return Ok(session.thread.clone());
    }
    Err(error::not_found(THREAD, thread))
}

fn render(server: &Server, session: &SessionRecord, row: &ThreadRecord) -> Result<String, Failure> {
    let progress = harness::stored(THREAD, &row.id, &row.progress)?;
    let thread = Thread {
        id: &row.id,
        session_id: &session.id,
        agent: harness::stored("session", &session.id, row.agent.as_deref().unwrap_or(&session.agent))?,
        status: row.status,
        progress: &progress,
        created_at: row.created_at,
        updated_at: row.updated_at,
        archived_at: row.archived_at,
    };
    Ok(thread.render(server.clock.now()))
}
