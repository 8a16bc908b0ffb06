//! `/v1/sessions`: made from an agent and an environment, changed, listed, ended.

use std::sync::Arc;

use api::lists::SessionList;
use api::page;
use api::sessions::Progress;
use api::sessions::Session;
use api::sessions::SessionCreate;
use api::sessions::SessionUpdate;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::routing::get;
use axum::routing::post;
use store::SessionQuery;
use store::SessionRecord;

use crate::Server;
use crate::answer::Answer;
use crate::answer::json;
use crate::auth::BetaCaller;
use crate::auth::Caller;
use crate::error;
use crate::error::Failure;
use crate::list;
use crate::request::Body;
use crate::request::NoQuery;
use crate::resource;

const SESSION: &str = "session";

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/sessions", get(list).post(create))
        .route("/v1/sessions/{id}", get(retrieve).post(update).delete(delete))
        .route("/v1/sessions/{id}/archive", post(archive))
}

async fn create(BetaCaller(caller): BetaCaller, _: NoQuery, Body(body): Body) -> Answer {
    let create = SessionCreate::parse(&body)?;
    let record = caller.server.harness.create_session(caller.workspace.clone(), create).await?;
    answer(&caller, &record)
}

async fn retrieve(BetaCaller(caller): BetaCaller, _: NoQuery, Path(id): Path<String>) -> Answer {
    answer(&caller, &find(&caller, &id).await?)
}

async fn update(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Answer {
    let update = SessionUpdate::parse(&body)?;
    let record = find(&caller, &id).await?;
    answer(&caller, &caller.server.harness.update_session(&record, update).await?)
}

async fn archive(BetaCaller(caller): BetaCaller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let record = find(&caller, &id).await?;
    answer(&caller, &caller.server.harness.archive_session(&record).await?)
}

async fn delete(BetaCaller(caller): BetaCaller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let record = find(&caller, &id).await?;
    caller.server.harness.delete_session(&record).await?;
    Ok(resource::deleted(&record.id, SESSION))
}

async fn list(BetaCaller(caller): BetaCaller, RawQuery(query): RawQuery) -> Answer {
    let wanted = SessionList::parse(query.as_deref())?;
    let SessionList { base, agent_id, agent_version, deployment_id, memory_store_id, statuses } = wanted;
    let query = SessionQuery {
        base: list::query(&base),
        agent_id,
        agent_version,
        deployment_id,
        memory_store_id,
        environment_id: None,
        statuses,
    };
    let rows = caller.server.store.list_sessions(&caller.workspace, &query).await?;
    let page = list::page(rows, &base, |row| (row.created_at, row.id.to_string()));
    let bodies = page.items.iter().map(|record| render(&caller, record)).collect::<Result<Vec<_>, _>>()?;
    Ok(json(page::body_both_ways(&bodies, page.next.as_ref(), page.prev.as_ref())))
}

/// The session of this id in the caller's workspace.
pub(crate) async fn find(caller: &Caller, id: &str) -> Result<SessionRecord, Failure> {
    let id = error::id(SESSION, id)?;
    let found = caller.server.store.session(&caller.workspace, &id).await?;
    found.ok_or_else(|| error::not_found(SESSION, id.as_str()))
}

/// The session's usage and times.
pub(crate) fn progress(record: &SessionRecord) -> Result<Progress, harness::Error> {
    harness::stored(SESSION, &record.id, &record.progress)
}

fn answer(caller: &Caller, record: &SessionRecord) -> Answer {
    Ok(json(render(caller, record)?))
}

fn render(caller: &Caller, record: &SessionRecord) -> Result<String, Failure> {
    let session = Session {
        id: &record.id,
        agent: harness::stored(SESSION, &record.id, &record.agent)?,
        environment_id: &record.environment_id,
        status: record.status,
        title: record.title.as_deref(),
        metadata: harness::stored(SESSION, &record.id, &record.metadata)?,
        progress: &progress(record)?,
        created_at: record.created_at,
        updated_at: record.updated_at,
        archived_at: record.archived_at,
    };
    Ok(session.render(caller.server.clock.now()))
}
