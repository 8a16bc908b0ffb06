//! A world for the brain without any I/O: a log in memory, a model and a sandbox that are pure functions of what they
//! have seen, and crashes wherever a test wants them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::completion::Failure;
use api::completion::FailureKind;
use api::completion::Reply;
use api::completion::Usage;
use api::emitted::text_block;
use api::entry::Entry;
use api::entry::NewEntry;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::Ids;
use api::ids::ThreadId;
use api::time::Clock;
use api::time::Timestamp;
use harness::brain::Content;
use harness::brain::Decision;
use harness::brain::Draft;
use harness::brain::Effect;
use harness::brain::Facts;
use harness::brain::Outcome;
use harness::brain::Policy;
use harness::brain::State;
use harness::brain::decide;
use harness::brain::observe;
use serde_json::Value;
use serde_json::json;

/// What the model does when it is asked for the n-th time and answers, or fails first.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) failures_before: u32,
    pub(crate) calls: usize,
    pub(crate) has_thinking: bool,
    pub(crate) has_text: bool,
    /// Clients send this many messages as soon as this reply is in the log.
    pub(crate) messages_after: usize,
}

/// What a crash finds of the calls whose intents are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// All of them had reached the sandbox.
    All,
    /// None had.
    None,
}

pub(crate) struct World {
    pub(crate) log: Vec<Entry>,
    pub(crate) runs: BTreeMap<EventId, u32>,
    ids: Ids,
    clock: Clock,
    thread: ThreadId,
    state: State,
    turns: Vec<Turn>,
    failed: BTreeMap<usize, u32>,
    sent_after: BTreeSet<usize>,
    /// Steps at which the process dies, counted from zero.
    crashes: BTreeSet<usize>,
    dispatch: Dispatch,
    steps: usize,
}

const STEPS_MAX: usize = 5_000;

impl World {
    pub(crate) fn new(turns: Vec<Turn>, crashes: BTreeSet<usize>, dispatch: Dispatch) -> Self {
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let ids = Ids::seeded(clock.clone(), 42);
        let thread: ThreadId = ids.make();
        let mut world = Self {
            log: Vec::new(),
            runs: BTreeMap::new(),
            state: State::new(Policy { retries_max: 4, rounds_max: 60, ..Policy::default() }),
            ids,
            clock,
            thread,
            turns,
            failed: BTreeMap::new(),
            sent_after: BTreeSet::new(),
            crashes,
            dispatch,
            steps: 0,
        };
        let facts = Facts {
            thread: world.thread.clone(),
            agent_name: "tester".to_owned(),
            model: "m".to_owned(),
            speed: None,
            effort: None,
            system: String::new(),
            tools: vec!["bash".to_owned()],
        };
        let draft = Draft {
            id: None,
            content: Content::Internal(EventKind::JournalSessionCreated),
            private: Some(raw(&facts)),
        };
        world.append(vec![draft]);
        world.say("begin");
        world
    }

    /// A client's event enters the log.
    pub(crate) fn client(&mut self, kind: &str, mut body: Value) -> EventId {
        let id: EventId = self.ids.make();
        body["id"] = json!(id);
        body["type"] = json!(kind);
        let entry = NewEntry {
            thread: self.thread.clone(),
            id: id.clone(),
            kind: EventKind::parse(kind),
            public: Some(raw(&body)),
            private: None,
            created_at: self.clock.now(),
            processed_at: None,
            processes: None,
        };
        self.store(entry);
        id
    }

    pub(crate) fn say(&mut self, text: &str) -> EventId {
        self.client("user.message", json!({"content": [{"type": "text", "text": text}]}))
    }

    /// Runs until the session is at rest.
    pub(crate) fn run(&mut self) {
        while self.step() {
            assert!(self.steps < STEPS_MAX, "the session does not come to rest");
        }
    }

    /// One write or one effect; false at rest.
    pub(crate) fn step(&mut self) -> bool {
        if self.crashes.contains(&self.steps) {
            self.steps += 1;
            self.crash();
            return true;
        }
        self.steps += 1;
        match decide(&self.state) {
            Decision::Write(drafts) => self.append(drafts),
            Decision::Perform(effects) => {
                let Some(effect) = effects.into_iter().next() else {
                    return false;
                };
                self.perform(effect);
            }
        }
        true
    }

    fn crash(&mut self) {
        if let (Decision::Perform(effects), Dispatch::All) = (decide(&self.state), self.dispatch) {
            for effect in effects {
                if let Effect::Run { call } = effect {
                    *self.runs.entry(call).or_default() += 1;
                }
            }
        }
        self.state = State::fold(Policy { retries_max: 4, rounds_max: 60, ..Policy::default() }, &self.log);
        if self.state.is_active() {
            self.append(vec![Draft {
                id: None,
                content: Content::Internal(EventKind::JournalSessionResumed),
                private: None,
            }]);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let outcome = match effect {
            Effect::Ask { span } => self.ask(span),
            Effect::CancelAsk { span } => Outcome::Stopped { span },
            Effect::Run { call } => {
                *self.runs.entry(call.clone()).or_default() += 1;
                finished(call)
            }
            Effect::Recall { call } if self.runs.contains_key(&call) => finished(call),
            Effect::Recall { call } => Outcome::Unknown { call },
            Effect::CancelRun { call } => {
                Outcome::Finished { call, content: vec![text_block("interrupted")], is_error: true }
            }
            Effect::Wait { until } => {
                self.clock.advance_millis(until.millis_since(self.clock.now()));
                Outcome::Waited
            }
        };
        let drafts = observe(&self.state, outcome);
        self.append(drafts);
        self.send_messages_that_are_due();
    }

    fn ask(&mut self, span: EventId) -> Outcome {
        let index = self.replies();
        let turn = self.turns.get(index).cloned();
        let turn = turn.unwrap_or(Turn {
            failures_before: 0,
            calls: 0,
            has_thinking: false,
            has_text: true,
            messages_after: 0,
        });
        let failed = self.failed.entry(index).or_default();
        if *failed < turn.failures_before {
            *failed += 1;
            let failure = Failure {
                kind: FailureKind::Overloaded,
                message: "overloaded".to_owned(),
                retry_after_ms: None,
            };
            return Outcome::Failed { span, failure, at: self.clock.now(), jitter_permille: 500 };
        }
        let mut blocks = Vec::new();
        if turn.has_thinking {
            blocks.push(json!({"type": "thinking", "thinking": "hm", "signature": format!("sig{index}")}));
        }
        if turn.has_text {
            blocks.push(json!({"type": "text", "text": format!("reply {index}")}));
        }
        for call in 0..turn.calls {
            let input = json!({"command": format!("{index}.{call}")});
            blocks.push(json!({"type": "tool_use", "id": format!("toolu_{index}_{call}"), "name": "bash", "input": input}));
        }
        let blocks: Vec<_> = blocks.iter().map(raw).collect();
        let ids = blocks.iter().map(|_| self.ids.make()).collect();
        let stop_reason = if turn.calls > 0 { "tool_use" } else { "end_turn" }.to_owned();
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        let reply = Reply { blocks, stop_reason, stop_details: None, usage, model: None };
        Outcome::Replied { span, reply, ids, cost_microcents: None }
    }

    fn replies(&self) -> usize {
        let ends = self.log.iter().filter(|entry| entry.kind == EventKind::SpanModelRequestEnd);
        ends.filter(|entry| json_of(&entry.private)["has_reply"] == json!(true)).count()
    }

    fn send_messages_that_are_due(&mut self) {
        let replies = self.replies();
        if replies > 0 && self.sent_after.insert(replies) {
            let count = self.turns.get(replies - 1).map_or(0, |turn| turn.messages_after);
            for place in 0..count {
                self.say(&format!("after {replies}.{place}"));
            }
        }
    }

    fn append(&mut self, drafts: Vec<Draft>) {
        for draft in drafts {
            let id = draft.id.unwrap_or_else(|| self.ids.make());
            let (kind, public, processes) = match draft.content {
                Content::Event(event) => (event.kind(), Some(event.public(&id)), None),
                Content::UsageSnapshot => {
                    (EventKind::SessionUsage, Some(raw(&json!({"type": "session.usage"}))), None)
                }
                Content::Processed(input) => (EventKind::JournalInputProcessed, None, Some(input)),
                Content::Internal(kind) => (kind, None, None),
            };
            let now = self.clock.now();
            self.store(NewEntry {
                thread: self.thread.clone(),
                id,
                kind,
                public,
                private: draft.private,
                created_at: now,
                processed_at: Some(now),
                processes,
            });
        }
    }

    fn store(&mut self, entry: NewEntry) {
        let seq = i64::try_from(self.log.len()).unwrap() + 1;
        let entry = entry.at(seq);
        self.state.apply(&entry);
        self.log.push(entry);
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// What clients can see, without ids and times, and without requests that brought no reply because of a crash.
    pub(crate) fn public_history(&self) -> Vec<Value> {
        let ends = self.log.iter().filter(|entry| entry.kind == EventKind::SpanModelRequestEnd);
        let ends = ends.map(|entry| json_of(&entry.public)).filter(|end| end["is_error"] == json!(true));
        let aborted: BTreeSet<String> =
            ends.map(|end| end["model_request_start_id"].as_str().unwrap().to_owned()).collect();
        let is_of_aborted = |id: &Value| id.as_str().is_some_and(|id| aborted.contains(id));
        let mut history = Vec::new();
        for entry in &self.log {
            let processed =
                entry.processes.as_ref().and_then(|id| self.log.iter().find(|other| other.id == *id));
            if let Some(processed) = processed {
                history.push(json!({"processed": json_of(&processed.public)["content"]}));
            }
            let mut event = json_of(&entry.public);
            let is_aborted = is_of_aborted(&event["id"]) || is_of_aborted(&event["model_request_start_id"]);
            if entry.public.is_none() || is_aborted {
                continue;
            }
            for key in ["id", "model_request_start_id", "tool_use_id"] {
                event.as_object_mut().unwrap().remove(key);
            }
            history.push(event);
        }
        history
    }
}

fn finished(call: EventId) -> Outcome {
    Outcome::Finished { call, content: vec![text_block("done")], is_error: false }
}

#[expect(clippy::ref_option, reason = "called on fields of entries")]
pub(crate) fn json_of(raw: &Option<Arc<serde_json::value::RawValue>>) -> Value {
    raw.as_ref().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap())
}
