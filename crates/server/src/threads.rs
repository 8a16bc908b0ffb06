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
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use store::SessionRecord;

use crate::Server;
use crate::answer::json;
use crate::auth::Caller;
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

async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let ThreadList { statuses, limit: _, page: place } = ThreadList::parse(query.as_deref())?;
    let session = sessions::find(&server, &caller.workspace, &id).await?;
    let is_wanted = statuses.is_empty() || statuses.contains(&session.status);
    let mut threads = Vec::new();
    // The one thread is on the first page; whatever a cursor names lies behind it.
    if is_wanted && place.is_none() {
        threads.push(render(&server, &session)?);
    }
    Ok(json(page::body(&threads, None)))
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path((id, thread)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let session = sessions::find(&server, &caller.workspace, &id).await?;
    find(&session, &thread)?;
    Ok(json(render(&server, &session)?))
}

async fn archive(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path((id, thread)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let session = sessions::find(&server, &caller.workspace, &id).await?;
    let thread = find(&session, &thread)?;
    let message =
        format!("thread `{thread}` is the primary one and cannot be archived; archive its session instead");
    Err(Error::invalid(message).into())
}

async fn history(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path((id, thread)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let wanted = EventList::parse_thread(query.as_deref())?;
    let session = sessions::find(&server, &caller.workspace, &id).await?;
    let thread = find(&session, &thread)?;
    events::history(&server, &session, thread, wanted).await
}

async fn stream(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path((id, thread)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let options = StreamOptions::parse(query.as_deref())?;
    let after = events::last_event_id(&headers)?;
    let session = sessions::find(&server, &caller.workspace, &id).await?;
    let thread = find(&session, &thread)?;
    events::follow(&server, &session, thread, options, after).await
}

fn find(session: &SessionRecord, thread: &str) -> Result<ThreadId, Error> {
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
