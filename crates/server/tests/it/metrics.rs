//! `/metrics` against the list of its metrics in `docs/metrics.md`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::client::Client;
use crate::client::answer;
use crate::client::text;
use crate::server::Server;

const LIST: &str = include_str!("../../../../docs/metrics.md");

/// Type, labels and meaning of each metric.
type Metrics = BTreeMap<String, (String, BTreeSet<String>, String)>;

fn documented() -> Metrics {
    let rows = LIST.lines().filter(|line| line.starts_with("| `"));
    let read = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        let labels = labels.split_whitespace().map(|label| label.trim_matches('`').to_owned()).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels, meaning.to_owned()))
    };
    rows.map(read).collect()
}

fn shown(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in page.lines() {
        if let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            meaning.clone_into(&mut metrics.entry(name.to_owned()).or_default().2);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().0);
        } else if let Some((sample, labels)) = line.split_once('{') {
            let suffixes =
                ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix));
            let name = suffixes.filter(|name| metrics.contains_key(*name)).unwrap_or(sample);
            // Of what quotes divide, every other piece is a value.
            let keys = labels.split('"').step_by(2).filter_map(|piece| piece.strip_suffix('='));
            let keys = keys.map(|key| key.trim_start_matches([',', '}', ' ']).to_owned());
            metrics.entry(name.to_owned()).or_default().1.extend(keys.filter(|key| key != "le"));
        }
    }
    metrics
}

/// Asks until the answer is as it should be.
async fn until(client: &Client, path: &str, is_so: impl Fn(&Value) -> bool) {
    let reached = async {
        while !is_so(&client.get(path).await.ok()) {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await;
    in_time.unwrap_or_else(|_| panic!("{path} did not come so far"));
}

/// A turn with a tool call, and a build; there is no sandbox for either.
async fn exercise(client: &Client) {
    let tools = json!([{"type": "agent_toolset_20260401"}]);
    let agent =
        client.post("/v1/agents", &json!({"name": "Worker", "model": "scripted", "tools": tools})).await;
    let config = json!({"type": "cloud", "packages": {"pip": ["a==1"]}});
    let environment = client.post("/v1/environments", &json!({"name": "built", "config": config})).await;
    let (agent, environment) = (text(&agent.ok()["id"]), text(&environment.ok()["id"]));
    let body = json!({"agent": agent, "environment_id": environment});
    let session = text(&client.post("/v1/sessions", &body).await.ok()["id"]);
    let events = format!("/v1/sessions/{session}/events");
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "work"}]});
    client.post(&events, &json!({"events": [message]})).await.ok();
    let is_idle = |newest: &Value| newest["data"][0]["type"] == "session.status_idle";
    until(client, &format!("{events}?order=desc&limit=1"), is_idle).await;
    let build = format!("/x/v1/environments/{environment}/build");
    until(client, &build, |build| build["status"] == "failed").await;
}

#[tokio::test]
async fn every_metric_is_shown_and_documented_with_its_type_labels_and_meaning() {
    let server = Server::start().await;
    let client = server.client().await;
    exercise(&client).await;
    let page = answer(client.request("GET", "/metrics")).await.text;
    let (documented, shown) = (documented(), shown(&page));
    for (name, (kind, labels, meaning)) in &shown {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{name}` | {kind} | {} | {meaning} |", labels.join(" "));
        assert!(documented.get(name) == shown.get(name), "docs/metrics.md should say\n{row}");
    }
    let missing: Vec<&String> = documented.keys().filter(|name| !shown.contains_key(*name)).collect();
    assert!(missing.is_empty(), "documented and not shown: {missing:?}");
    for id in ["sesn_", "agent_", "env_", "sevt_"] {
        assert!(!page.contains(&format!("\"{id}")), "no id is a label: {page}");
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 5_000, "{series}");
}
