//! What clients of the API send: bodies, queries, cursors, times, ids.

use api::agents::Agent;
use api::agents::AgentCreate;
use api::agents::AgentUpdate;
use api::environments::Environment;
use api::environments::EnvironmentCreate;
use api::environments::EnvironmentUpdate;
use api::environments::SandboxUpdate;
use api::events::parse_send;
use api::ids::AgentId;
use api::ids::EnvironmentId;
use api::ids::SessionId;
use api::lists;
use api::page::Cursor;
use api::sessions::SessionCreate;
use api::sessions::SessionUpdate;
use api::time::Timestamp;
use serde_json::Value;
use serde_json::json;

const AGENT: &str = "agent_1ChHEFWow7eq8XYtC2eZas";
const ENVIRONMENT: &str = "env_1ChHEFWow7eq8XYtC2eZas";
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

/// The first byte says what the others are. What is taken in is shown as JSON, and means the same when it is sent again.
pub fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 8 {
        0 => events(bytes),
        1 => agent(bytes),
        2 => environment(bytes),
        3 => drop(SessionCreate::parse(bytes)),
        4 => drop((SessionUpdate::parse(bytes), SandboxUpdate::parse(bytes))),
        5 => queries(bytes),
        6 => cursor(bytes),
        _ => words(bytes),
    }
}

fn events(bytes: &[u8]) {
    let Ok(events) = parse_send(bytes) else { return };
    let bodies: Vec<_> = events.iter().map(|event| &event.body).collect();
    assert!(bodies.iter().all(|body| body.keys().next().is_some_and(|first| first == "type")));
    let again = json!({ "events": bodies }).to_string();
    assert_eq!(parse_send(again.as_bytes()).as_ref(), Ok(&events), "{again}");
}

fn agent(bytes: &[u8]) {
    let Some(id) = AgentId::parse(AGENT) else { panic!("{AGENT} is an id") };
    if let Ok(create) = AgentCreate::parse(bytes) {
        let agent = Agent::create(create, id, NOW);
        is_json(&agent.render());
        if let Ok(update) = AgentUpdate::parse(br#"{"version":1,"name":"b"}"#)
            && let Ok(Some(updated)) = agent.update(update, NOW)
        {
            is_json(&updated.render());
        }
    }
    drop(AgentUpdate::parse(bytes));
}

fn environment(bytes: &[u8]) {
    let Some(id) = EnvironmentId::parse(ENVIRONMENT) else { panic!("{ENVIRONMENT} is an id") };
    if let Ok(create) = EnvironmentCreate::parse(bytes)
        && let Ok(environment) = Environment::create(create, id, NOW)
    {
        is_json(&environment.render());
        if let Ok(update) = EnvironmentUpdate::parse(bytes)
            && let Ok(Some(updated)) = environment.update(update, NOW)
        {
            is_json(&updated.render());
        }
    }
    drop(EnvironmentUpdate::parse(bytes));
}

fn queries(bytes: &[u8]) {
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    let query = Some(query);
    drop(lists::RecordList::parse_created(query));
    drop(lists::VersionList::parse(query));
    drop(lists::RecordList::parse(query));
    drop(lists::SessionList::parse(query));
    drop(lists::EventList::parse(query));
    drop(lists::ThreadList::parse(query));
    drop(lists::ModelList::parse(query));
    drop(lists::StreamOptions::parse(query));
    drop(lists::parse_agent_version(query));
}

fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(cursor) = Cursor::decode(text) {
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }
}

fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{text}");
    }
    if let Some(id) = SessionId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
}

fn is_json(text: &str) {
    assert!(serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()), "{text}");
}
