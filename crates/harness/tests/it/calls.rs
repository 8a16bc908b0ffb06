//! Calls that the client runs or allows, and the order in which calls run.

use std::collections::BTreeSet;

use api::custom_tools::CustomTool;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::tools::Policy;
use harness::brain::Decision;
use harness::brain::Effect;
use harness::brain::Purpose;
use harness::brain::ToolEntry;
use harness::brain::context;
use harness::brain::decide;
use serde_json::Value;
use serde_json::json;

use crate::world::Dispatch;
use crate::world::Turn;
use crate::world::World;
use crate::world::json_of;

/// A session whose model makes these calls in its first reply and then is done.
fn world(calls: &[&str], crashes: impl IntoIterator<Item = usize>) -> World {
    let schema = json!({"type": "object"}).as_object().unwrap().clone();
    let weather = CustomTool { name: "weather".into(), description: "Weather.".into(), input_schema: schema };
    let tools = vec![
        ToolEntry::in_sandbox("bash", Policy::AlwaysAllow).unwrap(),
        ToolEntry::in_sandbox("read", Policy::AlwaysAllow).unwrap(),
        ToolEntry::in_sandbox("write", Policy::AlwaysAsk).unwrap(),
        ToolEntry::at_client(&weather),
    ];
    let turn = Turn {
        failures_before: 0,
        calls: calls.len(),
        has_thinking: false,
        has_text: true,
        messages_after: 0,
    };
    let mut world = World::with_tools(vec![vec![turn]], tools, crashes.into_iter().collect(), Dispatch::All);
    world.calls = calls.iter().map(|call| (*call).to_owned()).collect();
    world.say("go");
    world
}

fn events(world: &World, kind: &EventKind) -> Vec<(EventId, Value)> {
    let entries = world.log.iter().filter(|entry| entry.kind == *kind);
    entries.map(|entry| (entry.id.clone(), json_of(&entry.public))).collect()
}

/// The stop reasons of the session so far.
fn stop_reasons(world: &World) -> Vec<Value> {
    events(world, &EventKind::SessionStatusIdle)
        .into_iter()
        .map(|(_, event)| event["stop_reason"].clone())
        .collect()
}

fn requires(calls: &[&EventId]) -> Value {
    json!({"type": "requires_action", "event_ids": calls})
}

/// Ids of the model's calls whose results it got, in their order, and whether each failed.
fn results(world: &World) -> Vec<(String, bool)> {
    let request = context(world.state(), world.thread(0), Purpose::Turn);
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let blocks = blocks.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
    let results = blocks.filter(|block| block["type"] == "tool_result");
    results
        .map(|block| (block["tool_use_id"].as_str().unwrap().to_owned(), block["is_error"] == true))
        .collect()
}

fn under_way(world: &World) -> usize {
    match decide(world.state()) {
        Decision::Perform(effects) => {
            effects.iter().filter(|effect| matches!(effect, Effect::Start { .. })).count()
        }
        Decision::Write(drafts) => panic!("{drafts:?}"),
    }
}

#[test]
fn the_turn_waits_for_custom_tools_and_every_partial_answer_repeats_what_is_left() {
    // With crashes everywhere, too: a driver that resumes finds the same calls waiting.
    for crashes in [vec![], (0..40).step_by(2).collect()] {
        let mut world = world(&["weather", "bash", "weather"], crashes);
        world.run();
        let uses = events(&world, &EventKind::AgentCustomToolUse);
        let (first, second) = (&uses[0].0, &uses[1].0);
        assert!(uses[0].1.get("evaluated_permission").is_none());
        assert_eq!(events(&world, &EventKind::AgentToolResult).len(), 1, "the sandbox did not wait");
        assert_eq!(stop_reasons(&world), [requires(&[first, second])]);

        let answer = |call: &EventId| json!({"custom_tool_use_id": call, "content": [{"type": "text", "text": "sun"}]});
        world.client("user.custom_tool_result", answer(second));
        world.run();
        assert_eq!(stop_reasons(&world)[1..], [requires(&[first])]);
        world.client("user.custom_tool_result", answer(second));
        world.run();
        assert_eq!(stop_reasons(&world).len(), 2, "a second result has no effect");

        world.client("user.custom_tool_result", answer(first));
        world.run();
        assert_eq!(stop_reasons(&world)[2..], [json!({"type": "end_turn"})]);
        assert_eq!(
            events(&world, &EventKind::SessionStatusRunning).len(),
            2,
            "it runs again once all are answered"
        );
        let expected = ["toolu_0_0", "toolu_0_1", "toolu_0_2"].map(|id| (id.to_owned(), false));
        assert_eq!(results(&world), expected, "in the order of the calls");
    }
}

#[test]
fn a_confirmation_lets_a_call_run_and_a_denial_tells_the_model_why() {
    let mut world = world(&["write", "write"], BTreeSet::new());
    world.run();
    let uses = events(&world, &EventKind::AgentToolUse);
    assert_eq!(uses[0].1["evaluated_permission"], "ask");
    assert_eq!(stop_reasons(&world), [requires(&[&uses[0].0, &uses[1].0])]);
    assert!(world.runs.is_empty());
    let denial = json!({"tool_use_id": uses[1].0, "result": "deny", "deny_message": "not there"});
    let denied = world.client("user.tool_confirmation", denial);
    world.client("user.tool_confirmation", json!({"tool_use_id": uses[0].0, "result": "allow"}));
    world.run();
    assert_eq!(world.runs.keys().collect::<Vec<_>>(), [&uses[0].0]);
    assert_eq!(results(&world), [("toolu_0_0".to_owned(), false), ("toolu_0_1".to_owned(), true)]);
    let texts = events(&world, &EventKind::AgentToolResult);
    let text = texts.iter().find(|(_, result)| result["tool_use_id"] == json!(uses[1].0)).unwrap();
    assert!(text.1["content"][0]["text"].as_str().unwrap().contains("not there"), "{text:?}");
    let processed = world.log.iter().filter(|entry| entry.processes.as_ref() == Some(&denied));
    assert_eq!(processed.count(), 1);
    assert_eq!(stop_reasons(&world)[1..], [json!({"type": "end_turn"})]);
}

#[test]
fn an_interrupt_closes_calls_that_wait_without_asking_the_model() {
    let mut world = world(&["weather", "write"], BTreeSet::new());
    world.run();
    world.client("user.interrupt", json!({}));
    world.run();
    assert_eq!(stop_reasons(&world)[1..], [json!({"type": "end_turn"})]);
    assert_eq!(events(&world, &EventKind::SpanModelRequestStart).len(), 1);
    assert_eq!(results(&world), [("toolu_0_0".to_owned(), true), ("toolu_0_1".to_owned(), true)]);
    assert!(world.runs.is_empty());
}

#[test]
fn what_may_change_something_runs_alone_and_reads_overlap() {
    let mut world = world(&["read", "read", "bash", "read", "weather"], BTreeSet::new());
    while events(&world, &EventKind::SpanModelRequestEnd).is_empty() {
        world.step();
    }
    let mut widths = vec![under_way(&world)];
    while !matches!(decide(world.state()), Decision::Write(_)) {
        world.step();
        if let Decision::Perform(_) = decide(world.state()) {
            widths.push(under_way(&world));
        }
    }
    assert_eq!(widths, [2, 1, 1, 1]);
    world.run();
    assert_eq!(stop_reasons(&world).len(), 1, "only the client's call is left");
}
