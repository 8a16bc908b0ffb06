//! Several threads of one session in the brain: each with its own turn, one status for all of them.

use std::collections::BTreeSet;

use api::event_kinds::EventKind;
use api::sessions::SessionStatus;
use api::tools::Policy;
use harness::brain::ToolEntry;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::brain::turns;
use crate::world::Dispatch;
use crate::world::Turn;
use crate::world::World;
use crate::world::json_of;

fn world(scripts: &[Vec<Turn>], crashes: BTreeSet<usize>) -> World {
    let bash = ToolEntry::in_sandbox("bash", Policy::AlwaysAllow).unwrap();
    let mut world = World::with_tools(scripts.to_vec(), vec![bash], crashes, Dispatch::All);
    for thread in 0..scripts.len() {
        world.say_in(thread, &format!("begin {thread}"));
    }
    world
}

fn plain(calls: usize) -> Turn {
    Turn { failures_before: 0, calls, has_thinking: false, has_text: true, messages_after: 0 }
}

/// What a client sees of one thread; what concerns the session as a whole depends on who comes first.
fn thread_history(world: &World, thread: usize) -> Vec<Value> {
    world.history_of(|entry| {
        let is_of_session =
            SessionStatus::after(&entry.kind).is_some() || entry.kind == EventKind::SessionUsage;
        entry.thread == *world.thread(thread) && !is_of_session
    })
}

/// The session runs exactly while one of its threads does, as the log has it.
fn check_status(world: &World) {
    let mut running = BTreeSet::new();
    let mut status = SessionStatus::Idle;
    for (index, entry) in world.log.iter().enumerate() {
        if let Some(next) = SessionStatus::after(&entry.kind) {
            let is_repeated = status == next && next != SessionStatus::Idle;
            assert!(!is_repeated, "entry {index} announces {next} twice");
            status = next;
            assert!(next != SessionStatus::Idle || running.is_empty(), "idle while {running:?} run");
        } else if entry.kind == EventKind::SessionThreadStatusRunning {
            running.insert(entry.thread.clone());
            assert_eq!(status, SessionStatus::Running, "entry {index}");
        } else if entry.kind == EventKind::SessionThreadStatusIdle {
            running.remove(&entry.thread);
        } else if entry.kind == EventKind::SessionThreadStatusRescheduled {
            running.remove(&entry.thread);
        }
    }
    assert_eq!(status, SessionStatus::Idle, "the session ends idle");
}

/// Every request has an end, every call a result, every event of a client is picked up, and nothing runs twice.
fn check_ends(world: &World) {
    let of = |kind: EventKind| world.log.iter().filter(move |entry| entry.kind == kind);
    for start in of(EventKind::SpanModelRequestStart) {
        let ends = of(EventKind::SpanModelRequestEnd)
            .filter(|end| json_of(&end.public)["model_request_start_id"] == json!(start.id));
        assert_eq!(ends.map(|end| &end.thread).collect::<Vec<_>>(), [&start.thread]);
    }
    for call in of(EventKind::AgentToolUse) {
        let results = of(EventKind::AgentToolResult)
            .filter(|result| json_of(&result.public)["tool_use_id"] == json!(call.id));
        assert_eq!(results.map(|result| &result.thread).collect::<Vec<_>>(), [&call.thread]);
    }
    assert!(world.runs.values().all(|runs| *runs == 1), "{:?}", world.runs);
    let waiting = world.log.iter().filter(|entry| entry.processed_at.is_none()).count();
    let processed: BTreeSet<_> = world.log.iter().filter_map(|entry| entry.processes.as_ref()).collect();
    assert_eq!(processed.len(), waiting, "every event of a client is picked up once");
    assert!(world.state().is_at_rest());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_anywhere_leads_to_the_same_history_of_every_thread(
        scripts in prop::collection::vec(turns(), 2..4),
        crashes in prop::collection::btree_set(0usize..200, 0..12),
    ) {
        let mut calm = world(&scripts, BTreeSet::new());
        calm.run();
        let mut crashed = world(&scripts, crashes);
        crashed.run();
        for world in [&calm, &crashed] {
            check_ends(world);
            check_status(world);
        }
        for thread in 0..scripts.len() {
            prop_assert_eq!(thread_history(&calm, thread), thread_history(&crashed, thread));
        }
    }

    #[test]
    fn interrupts_and_crashes_anywhere_end_every_turn_and_the_next_message_is_answered(
        scripts in prop::collection::vec(turns(), 1..4),
        crashes in prop::collection::btree_set(0usize..200, 0..12),
        interrupts in prop::collection::btree_map(0usize..150, 0usize..6, 1..5),
    ) {
        let mut world = world(&scripts, crashes);
        for step in 0..150 {
            if let Some(target) = interrupts.get(&step) {
                // Some name a thread, the others concern all.
                let body = match world_thread(&world, &scripts, *target) {
                    Some(thread) => json!({"session_thread_id": thread}),
                    None => json!({}),
                };
                world.client("user.interrupt", body);
            }
            world.step();
        }
        world.run();
        check_ends(&world);
        check_status(&world);
        let before = world.log.len();
        for thread in 0..scripts.len() {
            world.say_in(thread, "and now?");
        }
        world.run();
        for thread in 0..scripts.len() {
            let id = world.thread(thread);
            let replies = world.log[before..].iter().filter(|entry| entry.thread == *id);
            let count = replies.filter(|entry| entry.kind == EventKind::SpanModelRequestEnd).count();
            prop_assert!(count > 0, "thread {} does not answer", thread);
        }
    }
}

fn world_thread(world: &World, scripts: &[Vec<Turn>], target: usize) -> Option<String> {
    (target < scripts.len()).then(|| world.thread(target).to_string())
}

#[test]
fn the_session_runs_from_the_first_thread_that_starts_to_the_last_that_stops_and_sums_their_usage() {
    let mut world = world(&[vec![plain(1)], vec![plain(2)]], BTreeSet::new());
    world.run();
    let of_session: Vec<String> = world
        .log
        .iter()
        .filter(|entry| SessionStatus::after(&entry.kind).is_some())
        .map(|entry| entry.kind.to_string())
        .collect();
    assert_eq!(of_session, ["session.status_running", "session.status_idle"]);
    let tokens: Vec<u64> =
        world.state().thread_rows().map(|(_, _, accounting)| accounting.usage.input_tokens).collect();
    assert_eq!(
        (tokens.iter().sum::<u64>(), tokens),
        (world.state().accounting().usage.input_tokens, vec![20, 20])
    );
}
