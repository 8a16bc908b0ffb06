//! `/x/v1/environments/{id}/build`: how the installation of an environment's packages is going.

use std::sync::Arc;

use api::ids::EnvironmentId;
use axum::Router;
use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use harness::Build;
use harness::BuildProgress;
use serde_json::json;

use super::ENVIRONMENT;
use super::find;
use super::snapshot;
use crate::Server;
use crate::answer;
use crate::auth::Holder;
use crate::error;
use crate::error::Failure;
use crate::request::NoQuery;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/x/v1/environments/{id}/build", get(retrieve).post(retry))
}

async fn retrieve(
    State(server): State<Arc<Server>>,
    holder: Holder,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let environment = snapshot(&find(&server, &holder.workspace, &id).await?, &[])?;
    Ok(answer::json(render(&id, server.harness.build(&environment).await?)))
}

async fn retry(
    State(server): State<Arc<Server>>,
    holder: Holder,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = error::id(ENVIRONMENT, &id)?;
    let environment = snapshot(&find(&server, &holder.workspace, &id).await?, &[])?;
    Ok(answer::json(render(&id, server.harness.rebuild(&environment).await?)))
}

fn render(id: &EnvironmentId, build: Build) -> String {
    let Build { progress, step, log, layer, started_at, finished_at, error } = build;
    let status = match progress {
        BuildProgress::None => "none",
        BuildProgress::Building => "building",
        BuildProgress::Ready => "ready",
        BuildProgress::Failed => "failed",
    };
    let answer = json!({
        "type": "environment_build",
        "environment_id": id,
        "status": status,
        "step": step,
        "log": log,
        "layer": layer,
        "started_at": started_at,
        "finished_at": finished_at,
        "error": error,
    });
    answer.to_string()
}
