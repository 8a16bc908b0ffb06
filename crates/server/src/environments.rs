//! `/v1/environments`: where sessions work; and below it what we add under `/x/v1/environments`.

mod build;
mod egress;
mod sandbox;

use std::sync::Arc;

use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::EnvironmentUpdate;
use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use api::errors::Error;
use api::ids::EnvironmentId;
use api::ids::WorkspaceId;
use api::lists::EnvironmentList;
use api::mcp::McpServer;
use api::page;
use api::page::Order;
use api::page::Page;
use api::query::Range;
use api::time::Timestamp;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use store::EnvironmentRecord;

use crate::Server;
use crate::answer::json;
use crate::auth::Caller;
use crate::error;
use crate::error::Failure;
use crate::limits::UPDATE_ATTEMPTS_MAX;
use crate::list;
use crate::request::Body;
use crate::request::NoQuery;

const ENVIRONMENT: &str = "environment";
const NEWEST_FIRST: Order = Order::Desc;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/environments", get(list).post(create))
        .route("/v1/environments/{id}", get(retrieve).post(update).delete(delete))
        .route("/v1/environments/{id}/archive", post(archive))
        .merge(build::routes())
        .merge(egress::routes())
        .merge(sandbox::routes())
}

async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body,
) -> Result<Response, Failure> {
    let create = EnvironmentCreate::parse(&body)?;
    let environment = Environment::create(create, server.ids.make(), server.clock.now())?;
    let record = record(&environment, caller.workspace, None);
    server.store.insert_environment(&record).await?;
    prepare(&server, &record)?;
    Ok(json(record.body))
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    Ok(json(find(&server, &caller.workspace, &id).await?.body))
}

async fn update(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let update = EnvironmentUpdate::parse(&body)?;
    let change = |environment: &Environment, now| environment.update(update.clone(), now);
    let record = replace(&server, caller.workspace, &id, change).await?;
    prepare(&server, &record)?;
    Ok(json(record.body))
}

async fn archive(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let archive = |environment: &Environment, now| Ok(environment.archive(now));
    Ok(json(replace(&server, caller.workspace, &id, archive).await?.body))
}

async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    server.store.delete_environment(&caller.workspace, &id).await?;
    Ok(json(Environment::render_deleted(&id)))
}

async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let EnvironmentList { include_archived, limit, page: place } = EnvironmentList::parse(query.as_deref())?;
    let query = list::query(&Range::default(), include_archived, NEWEST_FIRST, place.as_ref(), limit);
    let rows = server.store.list_environments(&caller.workspace, &query).await?;
    let cursor = list::cursor(place.as_ref());
    let page = Page::new(rows, limit, NEWEST_FIRST, cursor, |row| list::created(row.created_at, &row.id));
    let bodies: Vec<&str> = page.items.iter().map(|row| row.body.as_str()).collect();
    Ok(json(page::body(&bodies, page.next.as_ref())))
}

/// Puts what `change` makes of the environment in its place; gives the stored one when nothing changes.
async fn replace(
    server: &Server,
    workspace: WorkspaceId,
    id: &EnvironmentId,
    change: impl Fn(&Environment, Timestamp) -> Result<Option<Environment>, Error>,
) -> Result<EnvironmentRecord, Failure> {
    rewrite(server, &workspace, id, |stored, now| {
        let next = change(&parse(stored)?, now)?;
        Ok(next.map(|next| record(&next, workspace.clone(), stored.sandbox.clone())))
    })
    .await
}

/// Puts what `change` makes of the record in its place; gives the stored one when nothing changes.
async fn rewrite(
    server: &Server,
    workspace: &WorkspaceId,
    id: &EnvironmentId,
    change: impl Fn(&EnvironmentRecord, Timestamp) -> Result<Option<EnvironmentRecord>, Failure>,
) -> Result<EnvironmentRecord, Failure> {
    for _ in 0..UPDATE_ATTEMPTS_MAX {
        let stored = find(server, workspace, id).await?;
        // The time of the last change guards the next one, so it has to rise.
        let now = server.clock.now().max(Timestamp(stored.updated_at.0 + 1));
        let Some(next) = change(&stored, now)? else {
            return Ok(stored);
        };
        match server.store.replace_environment(&next, stored.updated_at).await {
            Ok(()) => return Ok(next),
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("the environment is being changed by others all the time").with_retry(true).into())
}

/// What a session would keep of the environment, were it made now by an agent with these MCP servers.
pub(crate) fn snapshot(
    record: &EnvironmentRecord,
    servers: &[McpServer],
) -> Result<SessionEnvironment, Failure> {
    Ok(SessionEnvironment::of(&parse(record)?, settings(record)?, servers))
}

/// What the environment says of its sandboxes.
fn settings(record: &EnvironmentRecord) -> Result<SandboxSettings, Failure> {
    let Some(text) = &record.sandbox else { return Ok(SandboxSettings::default()) };
    serde_json::from_str(text).map_err(|source| error::corrupt(ENVIRONMENT, record.id.as_str(), &source))
}

/// Begins to build what the environment installs.
fn prepare(server: &Server, record: &EnvironmentRecord) -> Result<(), Failure> {
    let environment = snapshot(record, &[])?;
    if environment.installs() {
        server.harness.prepare_environment(environment);
    }
    Ok(())
}

/// The environment.
pub(crate) async fn find(
    server: &Server,
    workspace: &WorkspaceId,
    id: &EnvironmentId,
) -> Result<EnvironmentRecord, Failure> {
    let found = server.store.environment(workspace, id).await?;
    Ok(found.ok_or_else(|| error::not_found(ENVIRONMENT, id.as_str()).with_code("environment_not_found"))?)
}

pub(crate) fn parse(record: &EnvironmentRecord) -> Result<Environment, Failure> {
    serde_json::from_str(&record.body)
        .map_err(|source| error::corrupt(ENVIRONMENT, record.id.as_str(), &source))
}

fn record(environment: &Environment, workspace: WorkspaceId, sandbox: Option<String>) -> EnvironmentRecord {
    EnvironmentRecord {
        id: environment.id.clone(),
        workspace,
        name: environment.name.clone(),
        created_at: environment.created_at,
        updated_at: environment.updated_at,
        archived_at: environment.archived_at,
        body: environment.render(),
        sandbox,
    }
}
