//! `/v1/agents`: agents and their versions.

use std::sync::Arc;

use api::agents::Agent;
use api::agents::AgentCreate;
use api::agents::AgentUpdate;
use api::errors::Error;
use api::ids::AgentId;
use api::ids::WorkspaceId;
use api::lists;
use api::lists::AgentList;
use api::lists::VersionList;
use api::model_config::ModelConfig;
use api::page;
use api::page::Cursor;
use api::page::Order;
use api::page::Page;
use api::page::Position;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use store::AgentRecord;

use crate::Server;
use crate::answer::json;
use crate::auth::Caller;
use crate::error;
use crate::error::Failure;
use crate::limits::UPDATE_ATTEMPTS_MAX;
use crate::list;
use crate::request::Body;
use crate::request::NoQuery;

const AGENT: &str = "agent";
const NEWEST_FIRST: Order = Order::Desc;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/agents", get(list).post(create))
        .route("/v1/agents/{id}", get(retrieve).post(update))
        .route("/v1/agents/{id}/archive", post(archive))
        .route("/v1/agents/{id}/versions", get(versions))
}

async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body,
) -> Result<Response, Failure> {
    let create = AgentCreate::parse(&body)?;
    let agent = Agent::create(create, server.ids.make(), server.clock.now());
    check_model(&server, "model", &agent.model)?;
    let record = record(&agent, caller.workspace);
    server.store.insert_agent(&record).await?;
    Ok(json(record.body))
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let version = lists::parse_agent_version(query.as_deref())?;
    let id = error::id(AGENT, &id)?;
    Ok(json(find(&server, &caller.workspace, &id, version).await?.body))
}

async fn update(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Failure> {
    let id = error::id(AGENT, &id)?;
    let update = AgentUpdate::parse(&body)?;
    for _ in 0..UPDATE_ATTEMPTS_MAX {
        let stored = find(&server, &caller.workspace, &id, None).await?;
        if let Some(wanted) = update.version
            && wanted != stored.version
        {
            let current = stored.version;
            return Err(
                Error::conflict(format!("version: the agent is at version {current}, not {wanted}")).into()
            );
        }
        let agent = parse(&stored)?;
        let Some(next) = agent.update(update.clone(), server.clock.now())? else {
            return Ok(json(stored.body));
        };
        if next.model != agent.model {
            check_model(&server, "model", &next.model)?;
        }
        let next = record(&next, caller.workspace.clone());
        match server.store.replace_agent(&next, stored.version).await {
            Ok(()) => return Ok(json(next.body)),
            // Somebody else was faster: without a `version` in the request the last write wins.
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("the agent is being changed by others all the time").with_retry(true).into())
}

async fn archive(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(AGENT, &id)?;
    for _ in 0..UPDATE_ATTEMPTS_MAX {
        let stored = find(&server, &caller.workspace, &id, None).await?;
        let Some(next) = parse(&stored)?.archive(server.clock.now()) else {
            return Ok(json(stored.body));
        };
        let next = record(&next, caller.workspace.clone());
        match server.store.replace_agent(&next, stored.version).await {
            Ok(()) => return Ok(json(next.body)),
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("the agent is being changed by others all the time").with_retry(true).into())
}

async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let AgentList { created_at, include_archived, limit, page: place } = AgentList::parse(query.as_deref())?;
    let query = list::query(&created_at, include_archived, NEWEST_FIRST, place.as_ref(), limit);
    let rows = server.store.list_agents(&caller.workspace, &query).await?;
    let cursor = list::cursor(place.as_ref());
    let page = Page::new(rows, limit, NEWEST_FIRST, cursor, |row| list::created(row.created_at, &row.id));
    Ok(json(body(&page)))
}

async fn versions(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let VersionList { limit, before } = VersionList::parse(query.as_deref())?;
    let id = error::id(AGENT, &id)?;
    let rows = server.store.list_agent_versions(&caller.workspace, &id, before, limit + 1).await?;
    if rows.is_empty() {
        // Every agent has a version: an empty page is the end of the list, or the agent is not there.
        find(&server, &caller.workspace, &id, None).await?;
    }
    let cursor = before.map(|version| Cursor::after(NEWEST_FIRST, Position::Version(version)));
    let page = Page::new(rows, limit, NEWEST_FIRST, cursor.as_ref(), |row| Position::Version(row.version));
    Ok(json(body(&page)))
}

fn body(page: &Page<AgentRecord>) -> String {
    let bodies: Vec<&str> = page.items.iter().map(|row| row.body.as_str()).collect();
    page::body(&bodies, page.next.as_ref())
}

/// The agent, or how it was at a version.
pub(crate) async fn find(
    server: &Server,
    workspace: &WorkspaceId,
    id: &AgentId,
    version: Option<i64>,
) -> Result<AgentRecord, Failure> {
    let found = match version {
        None => server.store.agent(workspace, id).await?,
        Some(version) => server.store.agent_version(workspace, id, version).await?,
    };
    let missing = || match version {
        None => error::not_found(AGENT, id.as_str()),
        Some(version) => Error::not_found(format!("agent `{id}` or its version {version} was not found")),
    };
    Ok(found.ok_or_else(missing)?)
}

/// The agent in a record.
pub(crate) fn parse(record: &AgentRecord) -> Result<Agent, Failure> {
    serde_json::from_str(&record.body).map_err(|source| error::corrupt(AGENT, record.id.as_str(), &source))
}

fn record(agent: &Agent, workspace: WorkspaceId) -> AgentRecord {
    AgentRecord {
        id: agent.id.clone(),
        workspace,
        version: agent.version,
        created_at: agent.created_at,
        updated_at: agent.updated_at,
        archived_at: agent.archived_at,
        body: agent.render(),
    }
}

/// Refuses at once what could never run. `field` is where the request names the model.
pub(crate) fn check_model(server: &Server, field: &str, model: &ModelConfig) -> Result<(), Error> {
    if server.models.serves(&model.id) {
        return Ok(());
    }
    let model = api::body::excerpt(&model.id);
    Err(Error::invalid(format!(
        "{field}: no provider of this server serves `{model}`; GET /v1/models lists what it has"
    )))
}
