//! `/x/v1/environments/{id}/egress`: what the sandboxes of an environment may reach, as it is enforced.

use std::sync::Arc;

use api::environments::Config;
use api::environments::SessionEnvironment;
use api::ids::EnvironmentId;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use egress::Policy;
use egress::policy::Access;
use serde_json::Value;
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
    Router::new().route("/x/v1/environments/{id}/egress", get(retrieve))
}

async fn retrieve(caller: Caller, _: NoQuery, Path(id): Path<String>) -> Answer {
    let id = error::id(ENVIRONMENT, &id)?;
    let environment = snapshot(&caller, &id).await?;
    let policy = caller.server.harness.egress(&environment).await;
    Ok(answer::json(render(&id, &environment, policy.as_ref())))
}

/// Everything but `networking`, which is what the client asked for, is read off the policy that sandboxes get.
fn render(id: &EnvironmentId, environment: &SessionEnvironment, policy: Option<&Policy>) -> String {
    let networking = match &environment.config {
        Config::Cloud { networking, packages: _ } => json!(networking),
        Config::SelfHosted => Value::Null,
    };
    let mut answer = json!({
        "type": "environment_egress",
        "environment_id": id,
        "networking": networking,
        "is_off": policy.is_none(),
    });
    if let (Some(policy), Some(fields)) = (policy, answer.as_object_mut()) {
        fields.extend(enforced(policy));
    }
    answer.to_string()
}

fn enforced(policy: &Policy) -> serde_json::Map<String, Value> {
    let Policy {
        access,
        requests,
        blocked_hosts,
        refused_networks,
        permitted_networks,
        routes,
        bytes_max,
        connections_max,
    } = policy;
    let (rules, ports) = match access {
        Access::Unrestricted => (Vec::new(), json!("all")),
        Access::Limited { hosts } => {
            let rules = hosts.iter().map(|rule| json!({"host": rule.pattern, "reason": rule.reason}));
            (rules.collect(), json!(egress::decide::LIMITED_PORTS))
        }
    };
    let by_operator = refused_networks.iter().map(|network| {
        json!({"network": network, "reason": "the operator refuses its network", "can_be_permitted": false})
    });
    let built_in = egress::address::refused().map(|refused| {
        json!({
            "network": refused.network, "reason": refused.reason, "can_be_permitted": refused.can_be_permitted,
        })
    });
    let fields = json!({
        "rules": rules,
        "ports": ports,
        "blocked_hosts": blocked_hosts,
        "refused_networks": by_operator.chain(built_in).collect::<Vec<_>>(),
        "permitted_networks": permitted_networks,
        "routes": routes,
        "requests": requests,
        "budgets": {"bytes_max": bytes_max, "connections_max": connections_max},
    });
    match fields {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}
