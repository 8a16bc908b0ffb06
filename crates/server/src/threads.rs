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
    let is_wanted = statuses.is_empty() || statuses.contains(&session.status);
    let mut threads = Vec::new();
    // The one thread is on the first page; whatever a cursor names lies behind it.
    if is_wanted && place.is_none() {
        threads.push(render(&caller.server, &session)?);
    }
    Ok(json(page::body(&threads, None)))
}

async fn retrieve(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path((id, thread)): Path<(String, String)>,
) -> Answer {
    let session = sessions::find(&caller, &id).await?;
    find(&session, &thread)?;
    Ok(json(render(&caller.server, &session)?))
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

fn render(server: &Server, session: &SessionRecord) -> Result<String, Failure> {
    let thread = Thread {
        id: &session.thread,
        session_id: &session.id,
        agent: &session.agent,
        status: session.status,
        progress: &sessions::progress(session)?,
        created_at: session.created_at,
        updated_at: session.updated_at,
        archived_at: session.archived_at,
    };
    Ok(thread.render(server.clock.now()))
}
