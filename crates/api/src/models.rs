//! Models that the configuration names, as the models API answers them.

use serde_json::json;

use crate::lists::ModelList;
use crate::time::Timestamp;

/// A model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// When it was released; the epoch when that is not known.
    pub created_at: Timestamp,
    /// Longest input; `None` when that is not known.
    pub max_input_tokens: Option<u64>,
    /// Longest output; `None` when that is not known.
    pub max_tokens: Option<u64>,
}

impl Model {
    /// The answer.
    pub fn render(&self) -> String {
        let Self { id, display_name, created_at, max_input_tokens, max_tokens } = self;
        json!({
            "type": "model",
            "id": id,
            "display_name": display_name,
            "created_at": created_at,
            "lifecycle": "active",
            "line": null,
            "max_input_tokens": max_input_tokens,
            "max_tokens": max_tokens,
            "capabilities": null,
            "allowed_fallback_models": null,
            "deprecated_at": null,
            "retires_at": null,
        })
        .to_string()
    }
}

/// A page of `models`, which are listed in the order given.
pub fn page(models: &[Model], list: &ModelList) -> String {
    let ModelList { after_id, before_id, limit, includes_active } = list;
    let models = if *includes_active { models } else { &[] };
    let place = |id: &String| models.iter().position(|model| model.id == *id);
    let (shown, has_more) = match (after_id, before_id) {
        (_, Some(id)) => {
            let end = place(id).unwrap_or(0);
            let start = end.saturating_sub(*limit);
            (&models[start..end], start > 0)
        }
        (Some(id), None) => take(place(id).map_or(&[], |index| &models[index + 1..]), *limit),
        (None, None) => take(models, *limit),
    };
    let data: Vec<String> = shown.iter().map(Model::render).collect();
    let first = json!(shown.first().map(|model| &model.id));
    let last = json!(shown.last().map(|model| &model.id));
    let data = data.join(",");
    format!("{{\"data\":[{data}],\"has_more\":{has_more},\"first_id\":{first},\"last_id\":{last}}}")
}

fn take(models: &[Model], limit: usize) -> (&[Model], bool) {
    (&models[..models.len().min(limit)], models.len() > limit)
}
