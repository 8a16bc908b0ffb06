//! `/x/v1/environments/{id}/build`: how the installation of an environment's packages is going.

use std::sync::Arc;

use api::ids::EnvironmentId;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use harness::Build;
use harness::BuildProgress;
use serde_json::json;

use super::ENVIRONMENT;
use super::snapshot;
use crate::Server;
use crate::answer;
use crate::answer::Answer;
use crate::auth::Caller;
use crate::error;
use crate::request::NoQuery;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/x/v1/environments/{id}/build", get(retrieve).post(retry))
}

async fn retrieve(caller: Caller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    let environment = snapshot(&caller, &id).await?;
    Ok(answer::json(render(&id, caller.server.harness.build(&environment).await?)))
}

async fn retry(caller: Caller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    let environment = snapshot(&caller, &id).await?;
    Ok(answer::json(render(&id, caller.server.harness.rebuild(&environment).await?)))
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
