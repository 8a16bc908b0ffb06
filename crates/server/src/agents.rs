//! `/v1/agents`: agents and their versions.

use std::sync::Arc;

use api::agents::Agent;
use api::agents::AgentCreate;
use api::agents::AgentUpdate;
use api::lists;
use api::lists::RecordList;
use api::lists::VersionList;
use api::page::Cursor;
use api::page::Order;
use api::page::Page;
use api::page::Position;
use api::time::Timestamp;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::routing::get;
use axum::routing::post;
use store::AgentColumns;
use store::AgentRecord;
use store::Noun;

use crate::Server;
use crate::answer::Answer;
use crate::auth::BetaCaller;
use crate::error;
use crate::error::Failure;
use crate::request::Body;
use crate::request::NoQuery;
use crate::resource;
use crate::resource::Resource;

const AGENT: &str = AgentColumns::NAME;
const NEWEST_FIRST: Order = Order::Desc;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/agents", get(resource::list::<AgentColumns>).post(create))
        .route("/v1/agents/{id}", get(retrieve).post(update))
        .route("/v1/agents/{id}/archive", post(resource::archive::<AgentColumns>))
        .route("/v1/agents/{id}/versions", get(versions))
}

impl Resource for AgentColumns {
    type Object = Agent;
    const LIST: fn(Option<&str>) -> Result<RecordList, api::errors::Error> = RecordList::parse_created;

    fn body(&self) -> &str {
        &self.body
    }

    fn with(&self, agent: &Agent) -> Self {
        columns(agent)
    }

    fn archive(agent: &Agent, now: Timestamp) -> Option<Agent> {
        agent.archive(now)
    }
}

fn columns(agent: &Agent) -> AgentColumns {
    AgentColumns { version: agent.version, body: agent.render() }
}

async fn create(BetaCaller(caller): BetaCaller, _: NoQuery, Body(body): Body) -> Answer {
    let server = &caller.server;
    let create = AgentCreate::parse(&body)?;
    let agent = Agent::create(create, server.ids.make(), server.clock.now());
    server.harness.check_model("model", &agent.model)?;
    let columns = columns(&agent);
    let record = AgentRecord::new(agent.id, caller.workspace, agent.created_at, columns);
    server.store.insert(&record).await?;
    Ok(resource::answer(&record))
}

async fn retrieve(
    BetaCaller(caller): BetaCaller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let version = lists::parse_agent_version(query.as_deref())?;
    let id = error::id(AGENT, &id)?;
    Ok(resource::answer(&caller.server.harness.find_agent(&caller.workspace, &id, version).await?))
}

async fn update(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Answer {
    let id = error::id(AGENT, &id)?;
    let update = AgentUpdate::parse(&body)?;
    let changed = resource::change::<AgentColumns>(&caller, &id, |stored, now| {
        let current = stored.columns.version;
        if let Some(wanted) = update.version
            && wanted != current
        {
            let message = format!("version: the agent is at version {current}, not {wanted}");
            return Err(Failure::conflict(message));
        }
        let agent = resource::object(stored)?;
        let next = agent.update(update.clone(), now)?;
        if let Some(next) = &next
            && next.model != agent.model
        {
            caller.server.harness.check_model("model", &next.model)?;
        }
        Ok(next.map(|next| resource::with(stored, &next)))
    });
    Ok(resource::answer(&changed.await?))
}

async fn versions(
    BetaCaller(caller): BetaCaller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let VersionList { limit, before } = VersionList::parse(query.as_deref())?;
    let id = error::id(AGENT, &id)?;
    let store = &caller.server.store;
    let rows = store.list_versions::<AgentColumns>(&caller.workspace, &id, before, limit + 1).await?;
    if rows.is_empty() {
        // Every agent has a version: an empty page is the end of the list, or the agent is not there.
        resource::find::<AgentColumns>(&caller, &id).await?;
    }
    let cursor = before.map(|version| Cursor::after(NEWEST_FIRST, Position::Version(version)));
    let page = Page::new(rows, limit, NEWEST_FIRST, cursor.as_ref(), |row: &AgentRecord| {
        Position::Version(row.columns.version)
    });
    Ok(resource::page(&page))
}
