//! Properties and single decisions of the brain.

use std::collections::BTreeSet;

use api::event_kinds::EventKind;
use harness::brain::Purpose;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::world::Dispatch;
use crate::world::Turn;
use crate::world::World;
use crate::world::json_of;

pub(crate) fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        (0u32..3, 0usize..4, any::<bool>(), any::<bool>(), prop_oneof![4 => Just(0usize), 1 => 1usize..3]);
    let turn = turn.prop_map(|(failures_before, calls, has_thinking, has_text, messages_after)| Turn {
        failures_before,
        calls,
        has_thinking,
        has_text,
        messages_after,
    });
    prop::collection::vec(turn, 1..8)
}

fn run(turns: Vec<Turn>, crashes: BTreeSet<usize>, dispatch: Dispatch) -> World {
    let mut world = World::new(turns, crashes, dispatch);
    world.run();
    world
}

/// What must hold of every finished log.
fn check(world: &World) {
    let events: Vec<Value> = world.log.iter().map(|entry| json_of(&entry.public)).collect();
    let of = |kind: &str| events.iter().filter(|event| event["type"] == json!(kind)).collect::<Vec<_>>();
    for start in of("span.model_request_start") {
        let ends = of("span.model_request_end");
        let ends = ends.iter().filter(|end| end["model_request_start_id"] == start["id"]).count();
        assert_eq!(ends, 1, "every request has one end");
    }
    for call in of("agent.tool_use") {
        let results = of("agent.tool_result");
        let results = results.iter().filter(|result| result["tool_use_id"] == call["id"]).count();
        assert_eq!(results, 1, "every call has one result");
    }
    for (call, runs) in &world.runs {
        assert_eq!(*runs, 1, "{call} took effect more than once");
    }
    let messages = of("user.message").len();
    let processed = world.log.iter().filter(|entry| entry.processes.is_some()).count();
    assert_eq!(processed, messages, "every message is picked up once");
    let statuses: Vec<&Value> = events
        .iter()
        .map(|event| &event["type"])
        .filter(|kind| kind.as_str().is_some_and(|kind| kind.starts_with("session.status_")))
        .collect();
    assert_eq!(statuses.last(), Some(&&json!("session.status_idle")), "the session ends idle");
    for pair in statuses.windows(2) {
        assert!(*pair[0] != json!("session.status_idle") || *pair[1] == json!("session.status_running"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_anywhere_leads_to_the_same_public_history(
        turns in turns(),
        crashes in prop::collection::btree_set(0usize..120, 0..12),
    ) {
        let calm = run(turns.clone(), BTreeSet::new(), Dispatch::All);
        let crashed = run(turns, crashes, Dispatch::All);
        check(&calm);
        check(&crashed);
        prop_assert_eq!(calm.public_history(), crashed.public_history());
    }

    #[test]
    fn calls_that_never_reached_the_sandbox_get_a_result_that_says_so_and_are_not_run_later(
        turns in turns(),
        crashes in prop::collection::btree_set(0usize..120, 0..12),
    ) {
        let world = run(turns, crashes, Dispatch::None);
        check(&world);
        let unknown = world.log.iter().filter(|entry| entry.kind == EventKind::AgentToolResult).filter(|entry| {
            let text = json_of(&entry.public)["content"][0]["text"].as_str().unwrap_or_default().to_owned();
            text.contains("whether it took effect is unknown")
        });
        let calls = world.log.iter().filter(|entry| entry.kind == EventKind::AgentToolUse).count();
        prop_assert_eq!(unknown.count() + world.runs.len(), calls);
    }

    #[test]
    fn an_interrupt_anywhere_ends_the_turn_and_the_next_message_is_answered(
        turns in turns(),
        steps in 0usize..60,
    ) {
        let mut world = World::new(turns, BTreeSet::new(), Dispatch::All);
        for _ in 0..steps {
            world.step();
        }
        world.client("user.interrupt", json!({}));
        world.run();
        let after = world.log.len();
        world.say("and now?");
        world.run();
        check_interrupted(&world);
        let replies = world.log[after..].iter().filter(|entry| entry.kind == EventKind::SpanModelRequestEnd);
        prop_assert!(replies.count() > 0);
    }

    #[test]
    fn the_context_only_ever_grows_at_its_end(turns in turns()) {
        let mut world = World::new(turns, BTreeSet::new(), Dispatch::All);
        let mut last: Vec<(usize, String)> = Vec::new();
        loop {
            let request = harness::brain::context(world.state(), world.thread(0), Purpose::Turn);
            let now: Vec<(usize, String)> = request
                .messages
                .iter()
                .enumerate()
                .flat_map(|(place, message)| message.content.iter().map(move |block| (place, block.get().to_owned())))
                .collect();
            prop_assert!(now.starts_with(&last), "the prefix changed");
            let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
            prop_assert!(roles.windows(2).all(|pair| pair[0] != pair[1]), "roles do not alternate");
            last = now;
            if !world.step() {
                break;
            }
        }
    }
}

/// Like [`check`], for logs in which an interrupt may have come when nothing ran.
fn check_interrupted(world: &World) {
    let pending = world.log.iter().filter(|entry| entry.processed_at.is_none()).count();
    let processed = world.log.iter().filter(|entry| entry.processes.is_some()).count();
    assert_eq!(pending, processed, "every client event is picked up once");
    assert!(world.state().is_at_rest());
    for (call, runs) in &world.runs {
        assert_eq!(*runs, 1, "{call} took effect more than once");
    }
}

fn kinds(world: &World) -> Vec<String> {
    let mut kinds = Vec::new();
    for entry in &world.log {
        kinds.push(entry.kind.to_string());
    }
    kinds
}

#[test]
fn a_turn_with_a_tool_call_has_the_documented_order() {
    let tool = Turn { failures_before: 0, calls: 1, has_thinking: true, has_text: true, messages_after: 0 };
    let world = run(vec![tool], BTreeSet::new(), Dispatch::All);
    let expected = [
        "journal.session_created",
        "user.message",
        "journal.input_processed",
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.thinking",
        "agent.message",
        "agent.tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ];
    assert_eq!(kinds(&world), expected);
}

#[test]
fn failures_are_shown_and_retried_until_they_are_too_many() {
    let broken =
        Turn { failures_before: 9, calls: 0, has_thinking: false, has_text: true, messages_after: 0 };
    let world = run(vec![broken], BTreeSet::new(), Dispatch::All);
    let errors = world.log.iter().filter(|entry| entry.kind == EventKind::SessionError);
    let statuses: Vec<Value> =
        errors.map(|entry| json_of(&entry.public)["error"]["retry_status"]["type"].clone()).collect();
    assert_eq!(statuses, ["retrying", "retrying", "retrying", "retrying", "exhausted"]);
    let idle = json_of(&world.log.last().unwrap().public);
    assert_eq!(idle["stop_reason"], json!({"type": "retries_exhausted"}));
}

#[test]
fn messages_that_wait_are_answered_before_the_session_idles() {
    let first = Turn { failures_before: 0, calls: 0, has_thinking: false, has_text: true, messages_after: 2 };
    let world = run(vec![first], BTreeSet::new(), Dispatch::All);
    let idles = kinds(&world).iter().filter(|kind| *kind == "session.status_idle").count();
    let replies = kinds(&world).iter().filter(|kind| *kind == "agent.message").count();
    assert_eq!((idles, replies), (1, 2));
}
