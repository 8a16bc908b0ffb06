//! `/x/v1/environments/{id}/sandbox`: image, setup script, variables and resource class of an environment's sandboxes.

use std::sync::Arc;

use api::environments::Environment;
use api::environments::SandboxUpdate;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use store::EnvironmentColumns;
use store::EnvironmentRecord;

use super::ENVIRONMENT;
use super::prepare;
use crate::Server;
use crate::answer;
use crate::answer::Answer;
use crate::auth::Caller;
use crate::error;
use crate::request::Body;
use crate::request::NoQuery;
use crate::resource;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/x/v1/environments/{id}/sandbox", get(retrieve).post(update))
}

async fn retrieve(caller: Caller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    render(&resource::find(&caller, &id).await?)
}

async fn update(caller: Caller, _: NoQuery, Path(id): Path<String>, Body(body): Body) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    let update = SandboxUpdate::parse(&body)?;
    let changed = resource::change::<EnvironmentColumns>(&caller, &id, |stored, now| {
        let environment = resource::object(stored)?;
        environment.check_changeable()?;
        let before = harness::sandbox_settings(stored)?;
        let after = before.update(update.clone())?;
        caller.server.harness.check_settings(&after)?;
        if after == before {
            return Ok(None);
        }
        let mut next = resource::with(stored, &Environment { updated_at: now, ..environment });
        next.columns.sandbox = Some(api::entry::raw(&after).get().to_owned());
        Ok(Some(next))
    });
    let record = changed.await?;
    prepare(&caller, &record)?;
    render(&record)
}

fn render(record: &EnvironmentRecord) -> Answer {
    Ok(answer::json(harness::sandbox_settings(record)?.render(&record.id)))
}
