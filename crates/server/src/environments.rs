//! `/v1/environments`: where sessions work; and below it what we add under `/x/v1/environments`.

mod build;
mod egress;
mod sandbox;

use std::sync::Arc;

use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::EnvironmentUpdate;
use api::environments::SessionEnvironment;
use api::ids::EnvironmentId;
use api::time::Timestamp;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use axum::routing::post;
use store::EnvironmentColumns;
use store::EnvironmentRecord;
use store::Noun;

use crate::Server;
use crate::answer::Answer;
use crate::auth::BetaCaller;
use crate::auth::Caller;
use crate::error;
use crate::error::Failure;
use crate::request::Body;
use crate::request::NoQuery;
use crate::resource;
use crate::resource::Resource;

const ENVIRONMENT: &str = EnvironmentColumns::NAME;

pub(crate) fn routes() -> Router<Arc<Server>> {
    let one = get(resource::retrieve::<EnvironmentColumns>)
        .post(update)
        .delete(resource::delete::<EnvironmentColumns>);
    Router::new()
        .route("/v1/environments", get(resource::list::<EnvironmentColumns>).post(create))
        .route("/v1/environments/{id}", one)
        .route("/v1/environments/{id}/archive", post(resource::archive::<EnvironmentColumns>))
        .merge(build::routes())
        .merge(egress::routes())
        .merge(sandbox::routes())
}

impl Resource for EnvironmentColumns {
    type Object = Environment;

    fn body(&self) -> &str {
        &self.body
    }

    fn with(&self, environment: &Environment) -> Self {
        Self { sandbox: self.sandbox.clone(), ..columns(environment) }
    }

    fn archive(environment: &Environment, now: Timestamp) -> Option<Environment> {
        environment.archive(now)
    }
}

fn columns(environment: &Environment) -> EnvironmentColumns {
    EnvironmentColumns { name: environment.name.clone(), body: environment.render(), sandbox: None }
}

async fn create(BetaCaller(caller): BetaCaller, _: NoQuery, Body(body): Body) -> Answer {
    let server = &caller.server;
    let create = EnvironmentCreate::parse(&body)?;
    let environment = Environment::create(create, server.ids.make(), server.clock.now())?;
    let columns = columns(&environment);
    let workspace = caller.workspace.clone();
    let record = EnvironmentRecord::new(environment.id, workspace, environment.created_at, columns);
    server.store.insert(&record).await?;
    prepare(&caller, &record)?;
    Ok(resource::answer(&record))
}

async fn update(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    let update = EnvironmentUpdate::parse(&body)?;
    let changed = resource::change::<EnvironmentColumns>(&caller, &id, |stored, now| {
        let next = resource::object(stored)?.update(update.clone(), now)?;
        Ok(next.map(|next| resource::with(stored, &next)))
    });
    let record = changed.await?;
    prepare(&caller, &record)?;
    Ok(resource::answer(&record))
}

/// The environment of this id as a session of an agent without MCP servers would keep it.
async fn snapshot(caller: &Caller, id: &EnvironmentId) -> Result<SessionEnvironment, Failure> {
    let record = resource::find::<EnvironmentColumns>(caller, id).await?;
    Ok(harness::snapshot(&record, &[])?)
}

/// Begins to build what the environment installs.
fn prepare(caller: &Caller, record: &EnvironmentRecord) -> Result<(), Failure> {
    let environment = harness::snapshot(record, &[])?;
    if environment.installs() {
        caller.server.harness.prepare_environment(environment);
    }
    Ok(())
}
