//! `/x/v1/environments/{id}/sandbox`: image, setup script, variables and resource class of an environment's sandboxes.

use std::sync::Arc;

use api::environments::Environment;
use api::environments::SandboxUpdate;
use api::errors::Error;
use axum::Router;
use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::ENVIRONMENT;
use super::find;
use super::parse;
use super::prepare;
use super::record;
use super::rewrite;
use super::settings;
use crate::Server;
use crate::answer;
use crate::auth::Holder;
use crate::error;
use crate::error::Failure;
use crate::request::Body;
use crate::request::NoQuery;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/x/v1/environments/{id}/sandbox", get(retrieve).post(update))
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    holder: Holder,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let record = find(&server, &holder.workspace, &id).await?;
    Ok(answer::json(settings(&record)?.render(&id)))
}

async fn update(
    State(server): State<Arc<Server>>,
    holder: Holder,
    _: NoQuery,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let update = SandboxUpdate::parse(&body)?;
    let changed = rewrite(&server, &holder.workspace, &id, |stored, now| {
        let environment = parse(stored)?;
        if environment.archived_at.is_some() {
            let message = format!("Environment {} is archived and cannot be updated", environment.id);
            return Err(Error::invalid(message).with_code("environment_archived").into());
        }
        let before = settings(stored)?;
        let after = before.update(update.clone())?;
        server.harness.check_settings(&after)?;
        if after == before {
            return Ok(None);
        }
        let environment = Environment { updated_at: now, ..environment };
        let text = serde_json::to_string(&after)
            .map_err(|source| error::corrupt(ENVIRONMENT, stored.id.as_str(), &source))?;
        Ok(Some(record(&environment, stored.workspace.clone(), Some(text))))
    })
    .await?;
    prepare(&server, &changed)?;
    Ok(answer::json(settings(&changed)?.render(&id)))
}
