//! `/v1/sessions`: made from an agent and an environment, changed, listed, ended.

use std::sync::Arc;

use api::environments::check_mcp_servers;
use api::errors::Error;
use api::ids::WorkspaceId;
use api::lists::SessionList;
use api::page;
use api::page::Page;
use api::sessions::Progress;
use api::sessions::Session;
use api::sessions::SessionAgent;
use api::sessions::SessionCreate;
use api::sessions::SessionUpdate;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use harness::CreateSession;
use store::SessionQuery;
use store::SessionRecord;

use crate::Server;
use crate::agents;
use crate::answer::json;
use crate::auth::Caller;
use crate::environments;
use crate::error;
use crate::error::Failure;
use crate::list;
use crate::request::Body;
use crate::request::NoQuery;

const SESSION: &str = "session";

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/sessions", get(list).post(create))
        .route("/v1/sessions/{id}", get(retrieve).post(update).delete(delete))
        .route("/v1/sessions/{id}/archive", post(archive))
}

async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body,
) -> Result<Response, Failure> {
    let SessionCreate { agent, environment_id, title, metadata, initial_events } =
        SessionCreate::parse(&body)?;
    let Caller { workspace } = caller;
    let (record, environment) = tokio::join!(
        agents::find(&server, &workspace, &agent.id, agent.version),
        environments::find(&server, &workspace, &environment_id),
    );
    let agent = SessionAgent::resolve(&agents::parse(&record?)?, &agent)?;
    agents::check_model(&server, "agent.model", &agent.model)?;
    let environment = environment?;
    if environment.archived_at.is_some() {
        let message = format!(
            "environment_id: Environment {environment_id} is archived and cannot be used in new sessions"
        );
        return Err(Error::invalid(message).with_code("environment_archived").into());
    }
    let environment = environments::snapshot(&environment, &agent.mcp_servers)?;
    check_mcp_servers(&environment.config, &agent.mcp_servers)?;
    let new =
        CreateSession { workspace, agent, environment_id, environment, title, metadata, initial_events };
    let record = server.harness.create_session(new).await?;
    answer(&server, &record)
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let record = find(&server, &caller.workspace, &id).await?;
    answer(&server, &record)
}

async fn update(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Failure> {
    let update = SessionUpdate::parse(&body)?;
    let record = find(&server, &caller.workspace, &id).await?;
    let record = server.harness.update_session(&record, update).await?;
    answer(&server, &record)
}

async fn archive(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let record = find(&server, &caller.workspace, &id).await?;
    let record = server.harness.archive_session(&record).await?;
    answer(&server, &record)
}

async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let record = find(&server, &caller.workspace, &id).await?;
    server.harness.delete_session(&record).await?;
    Ok(json(Session::render_deleted(&record.id)))
}

async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let SessionList {
        created_at,
        include_archived,
        agent_id,
        agent_version,
        deployment_id,
        memory_store_id,
        statuses,
        order,
        limit,
        page: place,
    } = SessionList::parse(query.as_deref())?;
    let base = list::query(&created_at, include_archived, order, place.as_ref(), limit);
    let query = SessionQuery { base, agent_id, agent_version, deployment_id, environment_id: None, statuses };
    let rows = match memory_store_id {
        None => server.store.list_sessions(&caller.workspace, &query).await?,
        // No session has a memory store yet.
        Some(_) => Vec::new(),
    };
    let cursor = list::cursor(place.as_ref());
    let page = Page::new(rows, limit, order, cursor, |row| list::created(row.created_at, &row.id));
    let bodies = page.items.iter().map(|record| render(&server, record)).collect::<Result<Vec<_>, _>>()?;
    Ok(json(page::body_both_ways(&bodies, page.next.as_ref(), page.prev.as_ref())))
}

/// The session of this id in the caller's workspace.
pub(crate) async fn find(
    server: &Server,
    workspace: &WorkspaceId,
    id: &str,
) -> Result<SessionRecord, Failure> {
    let id = error::id(SESSION, id)?;
    let found = server.store.session(workspace, &id).await?;
    Ok(found.ok_or_else(|| error::not_found(SESSION, id.as_str()))?)
}

/// What the harness keeps of a session's course.
pub(crate) fn progress(record: &SessionRecord) -> Result<Progress, Failure> {
    serde_json::from_str(&record.progress)
        .map_err(|source| error::corrupt(SESSION, record.id.as_str(), &source))
}

fn answer(server: &Server, record: &SessionRecord) -> Result<Response, Failure> {
    Ok(json(render(server, record)?))
}

fn render(server: &Server, record: &SessionRecord) -> Result<String, Failure> {
    let session = Session {
        id: &record.id,
        agent: &record.agent,
        environment_id: &record.environment_id,
        status: record.status,
        title: record.title.as_deref(),
        metadata: &record.metadata,
        progress: &progress(record)?,
        created_at: record.created_at,
        updated_at: record.updated_at,
        archived_at: record.archived_at,
    };
    Ok(session.render(server.clock.now()))
}
