//! `/v1/models`: the models that the configuration can name. In no beta.

use std::sync::Arc;

use api::errors::Error;
use api::lists::ModelList;
use api::models;
use api::models::Model;
use axum::Router;
use axum::extract::Path;
use axum::extract::RawQuery;
use axum::routing::get;
use model::ModelInfo;

use crate::Server;
use crate::answer::Answer;
use crate::answer::json;
use crate::auth::Caller;
use crate::error;
use crate::request::NoQuery;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/v1/models", get(list)).route("/v1/models/{id}", get(retrieve))
}

async fn list(caller: Caller, RawQuery(query): RawQuery) -> Answer {
    let wanted = ModelList::parse(query.as_deref())?;
    let models: Vec<Model> = caller.server.models.list().into_iter().map(wire).collect();
    for (name, id) in [("after_id", &wanted.after_id), ("before_id", &wanted.before_id)] {
        if let Some(id) = id
            && !models.iter().any(|model| model.id == *id)
        {
            let id = api::body::excerpt(id);
            return Err(Error::invalid(format!("{name}: there is no model `{id}` in the list")).into());
        }
    }
    Ok(json(models::page(&models, &wanted)))
}

async fn retrieve(caller: Caller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let model = caller.server.models.describe(&id).ok_or_else(|| error::not_found("model", &id))?;
    Ok(json(wire(model).render()))
}

fn wire(model: ModelInfo) -> Model {
    let ModelInfo { id, display_name, created_at, max_input_tokens, max_tokens } = model;
    Model { id, display_name, created_at, max_input_tokens, max_tokens }
}
