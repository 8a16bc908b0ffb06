//! Event streams: framing, order, resuming, previews, and how they end.

use std::time::Duration;

use api::entry::NewEntry;
use api::entry::raw;
use api::ids::EventId;
use api::time::Clock;
use serde_json::Value;
use serde_json::json;
use store::Append;
use store::Fence;
use store::Patch;
use store::SessionQuery;
use store::SessionRecord;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::BETA;
use crate::client::Client;
use crate::client::Frame;
use crate::client::PATIENCE;
use crate::client::text;
use crate::server::Server;

async fn idle_session(client: &Client) -> (String, String) {
    let id = text(&client.session().await["id"]);
    let stream = format!("/v1/sessions/{id}/events/stream");
    (id, stream)
}

fn kinds(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(Frame::kind).collect()
}

#[tokio::test]
async fn a_stream_starts_at_now_and_carries_a_whole_turn() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    client.say(&id, "Before.").await;
    client.settled(&id).await;
    let mut frames = client.stream(&stream, None).await;
    assert_eq!(frames.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(frames.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(frames.headers["x-accel-buffering"], "no");
    assert!(frames.headers.contains_key("request-id"));
    let sent = client.say(&id, "Hello?").await;
    let seen = frames.until("session.status_idle").await;
    for frame in &seen {
        assert_eq!(frame.data["type"].as_str(), frame.event.as_deref());
    }
    assert!(seen.windows(2).all(|pair| pair[0].seq() < pair[1].seq()));
    assert_eq!(seen[0].data, sent);
    // The same event once more, now with its time; then, apart from it, what the list has.
    let again: Vec<&Frame> = seen[1..].iter().filter(|frame| frame.data["id"] == sent["id"]).collect();
    assert_eq!(again.len(), 1);
    assert!(again[0].data["processed_at"].is_string());
    let history = client.history(&id).await;
    let turn = history.iter().position(|event| event["id"] == sent["id"]).unwrap();
    let mut listed: Vec<&Value> = history[turn..].iter().collect();
    let mut streamed: Vec<&Value> = seen[1..].iter().map(|frame| &frame.data).collect();
    for events in [&mut listed, &mut streamed] {
        events.sort_by_key(|event| event["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(streamed, listed);
}

#[tokio::test]
async fn a_stream_resumed_at_any_id_yields_exactly_the_suffix() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let mut live = client.stream(&stream, None).await;
    client.say(&id, "think").await;
    let mut whole = live.until("session.status_idle").await;
    client.say(&id, "And now?").await;
    whole.extend(live.until("session.status_idle").await);
    for (index, frame) in whole.iter().enumerate() {
        let mut resumed = client.stream(&stream, frame.id.as_deref()).await;
        for expected in &whole[index + 1..] {
            assert_eq!(resumed.next().await.as_ref(), Some(expected), "after {frame:?}");
        }
    }
    let mut from_the_start = client.stream(&stream, Some("0")).await;
    for expected in &whole {
        assert_eq!(from_the_start.next().await.as_ref(), Some(expected));
    }
}

#[tokio::test]
async fn a_stream_resumed_between_waiting_and_processing_still_shows_the_processing() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let mut live = client.stream(&stream, None).await;
    client.say(&id, "wait for ever").await;
    live.until("span.model_request_start").await;
    let waiting = client.say(&id, "And then?").await;
    let shown = live.next().await.unwrap();
    assert_eq!(shown.data, waiting);
    let mut resumed = client.stream(&stream, shown.id.as_deref()).await;
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    client.post(&format!("/v1/sessions/{id}/events"), &interrupt).await.ok();
    live.until("session.status_idle").await;
    loop {
        let frame = resumed.next().await.unwrap();
        if frame.data["id"] == waiting["id"] {
            assert!(frame.data["processed_at"].is_string(), "{frame:?}");
            break;
        }
    }
}

#[tokio::test]
async fn a_last_event_id_that_the_stream_cannot_know_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    for id in ["100000", "-1", "sevt_1", "1.0"] {
        let message =
            crate::client::answer(client.usual("GET", &stream).header("last-event-id", id)).await.invalid();
        assert!(message.starts_with("last-event-id: "), "{message}");
    }
}

#[tokio::test]
async fn many_entries_are_replayed_over_several_reads() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    for n in 0..600 {
        client.post(&format!("/v1/sessions/{id}"), &json!({"title": format!("title {n}")})).await.ok();
    }
    let mut frames = client.stream(&stream, Some("0")).await;
    for n in 0..600 {
        let frame = frames.next().await.unwrap();
        assert_eq!(frame.data["title"], format!("title {n}"));
    }
    client.post(&format!("/v1/sessions/{id}"), &json!({"title": "live"})).await.ok();
    assert_eq!(frames.next().await.unwrap().data["title"], "live");
}

#[tokio::test]
async fn several_streams_see_the_same() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(client.stream(&stream, None).await);
    }
    client.say(&id, "Hello?").await;
    let expected = streams[0].until("session.status_idle").await;
    for other in &mut streams[1..] {
        assert_eq!(other.until("session.status_idle").await, expected);
    }
}

#[tokio::test]
async fn previews_come_between_the_start_of_a_request_and_the_event_itself() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let both = format!("{stream}?event_deltas[]=agent.message&event_deltas[]=agent.thinking");
    let mut previewing = client.stream(&both, None).await;
    let mut thinking_only = client.stream(&format!("{stream}?event_deltas[]=agent.thinking"), None).await;
    let mut plain = client.stream(&stream, None).await;
    client.say(&id, "think").await;
    let seen = previewing.until("session.status_idle").await;

    let place = |kind: &str| seen.iter().position(|frame| frame.kind() == kind).unwrap();
    let buffered = seen[place("agent.message")].data.clone();
    let thinking = seen[place("agent.thinking")].data.clone();
    let starts: Vec<&Value> =
        seen.iter().filter(|frame| frame.kind() == "event_start").map(|frame| &frame.data["event"]).collect();
    assert_eq!(
        starts,
        [
            &json!({"type": "agent.thinking", "id": thinking["id"]}),
            &json!({"type": "agent.message", "id": buffered["id"]})
        ]
    );
    let deltas: Vec<&Frame> = seen.iter().filter(|frame| frame.kind() == "event_delta").collect();
    assert!(deltas.iter().all(|frame| frame.data["event_id"] == buffered["id"] && frame.id.is_none()));
    let text: String =
        deltas.iter().map(|frame| frame.data["delta"]["content"]["text"].as_str().unwrap()).collect();
    assert!(!text.is_empty() && "Four words are here.".starts_with(&text), "{text}");
    let last_delta = seen.iter().rposition(|frame| frame.kind() == "event_delta").unwrap();
    assert!(place("span.model_request_start") < place("event_start") && last_delta < place("agent.message"));

    let without = |frames: &[Frame], kind: &str| -> Vec<Frame> {
        frames.iter().filter(|frame| frame.kind() != kind).cloned().collect()
    };
    let plain = plain.until("session.status_idle").await;
    assert_eq!(without(&without(&seen, "event_start"), "event_delta"), plain);
    let thinking_only = thinking_only.until("session.status_idle").await;
    assert_eq!(without(&thinking_only, "event_start"), plain);
    assert_eq!(thinking_only.len(), plain.len() + 1);
}

#[tokio::test]
async fn other_previews_and_too_many_are_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    let message = client.get(&format!("{stream}?event_deltas[]=agent.tool_use")).await.invalid();
    assert!(message.starts_with("event_deltas"), "{message}");
    let many = vec!["event_deltas[]=agent.message"; 101].join("&");
    let message = client.get(&format!("{stream}?{many}")).await.invalid();
    assert!(message.starts_with("event_deltas"), "{message}");
}

#[tokio::test]
async fn a_stream_says_that_the_session_was_deleted_and_ends() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let mut frames = client.stream(&stream, None).await;
    client.delete(&format!("/v1/sessions/{id}")).await.ok();
    let seen = frames.drain().await;
    assert_eq!(kinds(&seen), ["session.deleted"]);
    let event = &seen[0].data;
    let expected =
        json!({"id": event["id"], "type": "session.deleted", "processed_at": event["processed_at"]});
    assert_eq!(*event, expected);
    assert!(event["processed_at"].is_string() && seen[0].id.is_none());
}

#[tokio::test]
async fn a_stream_ends_after_the_session_was_terminated() {
    let server = Server::start().await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let mut frames = client.stream(&stream, None).await;
    client.post_text(&format!("/v1/sessions/{id}/archive"), "").await.ok();
    let seen = frames.drain().await;
    assert_eq!(kinds(&seen), ["session.thread_status_terminated", "session.status_terminated"]);
    let mut later = client.stream(&stream, None).await;
    assert_eq!(later.drain().await, []);
    let mut replay = client.stream(&stream, Some("0")).await;
    assert_eq!(replay.drain().await, seen);
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_alive() {
    let limits = server::Limits { heartbeat: Duration::from_millis(20), ..server::Limits::default() };
    let server = Server::with(limits).await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    let mut frames = client.stream(&stream, None).await;
    for _ in 0..3 {
        assert_eq!(frames.next_raw().await.unwrap().comment.as_deref(), Some("heartbeat"));
    }
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    let mut frames = client.stream(&stream, None).await;
    server.stop().await;
    assert_eq!(frames.drain().await, []);
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_a_closed_one_makes_room() {
    let limits = server::Limits { streams_max: 1, ..server::Limits::default() };
    let server = Server::with(limits).await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    let open = client.stream(&stream, None).await;
    client.get(&stream).await.error(529, "overloaded_error");
    drop(open);
    let reopen = async {
        while client.usual("GET", &stream).send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reopen).await.expect("the closed stream gives its slot back");
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_connection_and_others_do_not_notice() {
    let limits = server::Limits { write_stall_max: Duration::from_millis(200), ..server::Limits::default() };
    let server = Server::with(limits).await;
    let client = server.client().await;
    let (id, stream) = idle_session(&client).await;
    let key = &client.key;
    let mut stuck = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "GET {stream} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{}: {}\r\nlast-event-id: 0\r\n\r\n",
        BETA.0, BETA.1
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    let mut healthy = client.stream(&stream, None).await;

    // More than the two socket buffers hold.
    let session = record(&server).await;
    for n in 0..24 {
        append(&server, &session, &format!("{n}"), 1 << 20).await;
        assert_eq!(healthy.next().await.unwrap().data["title"], format!("{n}"));
    }
    let gone = async {
        loop {
            let metrics = crate::client::answer(client.request("GET", "/metrics")).await.text;
            let stalled =
                metrics.lines().find(|line| line.starts_with("journeyman_http_connections_stalled_total "));
            if stalled.is_some_and(|line| !line.ends_with(" 0")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the stuck connection is closed");
    client.get(&format!("/v1/sessions/{id}")).await.ok();
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let (_, stream) = idle_session(&client).await;
    let mut slow = client.stream(&stream, None).await;
    // Much more than the sockets and the subscription hold.
    let session = record(&server).await;
    for n in 0..2000 {
        append(&server, &session, &format!("{n}"), 1 << 13).await;
    }
    for n in 0..2000 {
        assert_eq!(slow.next().await.unwrap().data["title"], format!("{n}"));
    }
    let metrics = crate::client::answer(client.request("GET", "/metrics")).await.text;
    assert!(metrics.contains("journeyman_http_streams_lagged_total "), "it was never behind: {metrics}");
}

/// The only session.
async fn record(server: &Server) -> SessionRecord {
    let workspace = server.store.list_keys().await.unwrap().remove(0).workspace;
    server.store.list_sessions(&workspace, &SessionQuery::default()).await.unwrap().remove(0)
}

/// Puts an event with this title and this many bytes into the log, which need not make sense to a model.
async fn append(server: &Server, session: &SessionRecord, title: &str, bytes: usize) {
    let now = Clock::system().now();
    let id: EventId = server.ids.make();
    let filler = "x".repeat(bytes);
    let public = json!({"id": id, "type": "session.updated", "title": title, "filler": filler});
    let entry = NewEntry {
        thread: session.thread.clone(),
        id,
        kind: api::event_kinds::EventKind::SessionUpdated,
        public: Some(raw(&public)),
        private: None,
        created_at: now,
        processed_at: Some(now),
        processes: None,
    };
    let append = Append {
        session: session.key,
        fence: Fence::Client { claim: None, answers: Vec::new() },
        entries: vec![entry],
        patch: Patch::default(),
        jobs: Vec::new(),
        expected_head: None,
    };
    server.store.append(append).await.unwrap();
}
