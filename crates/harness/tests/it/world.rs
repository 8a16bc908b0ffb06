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
use harness::brain::AgentSnapshot;
use harness::brain::CallEnd;
use harness::brain::Content;
use harness::brain::Decision;
use harness::brain::Draft;
use harness::brain::Effect;
use harness::brain::EffectDone;
use harness::brain::Policy;
use harness::brain::RuntimeFacts;
use harness::brain::State;
use harness::brain::ToolEntry;
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
    /// The primary one first.
    threads: Vec<ThreadId>,
    state: State,
    turns: BTreeMap<ThreadId, Vec<Turn>>,
    failed: BTreeMap<(ThreadId, usize), u32>,
    sent_after: BTreeSet<(ThreadId, usize)>,
    /// Steps at which the process dies, counted from zero.
    crashes: BTreeSet<usize>,
    dispatch: Dispatch,
    steps: usize,
    /// Calls that were under way at some time.
    started: BTreeSet<EventId>,
    /// Names of the tools that a reply calls, in turn.
    pub(crate) calls: Vec<String>,
}

const STEPS_MAX: usize = 5_000;

impl World {
    /// A session with one thread that can call `bash`, and a message in it.
    pub(crate) fn new(turns: Vec<Turn>, crashes: BTreeSet<usize>, dispatch: Dispatch) -> Self {
        let bash = ToolEntry::in_sandbox("bash", api::tools::Policy::AlwaysAllow).unwrap();
        let mut world = Self::with_tools(vec![turns], vec![bash], crashes, dispatch);
        world.say("begin");
        world
    }

    /// A session with a thread for each script, and nothing said yet.
    pub(crate) fn with_tools(
        scripts: Vec<Vec<Turn>>,
        tools: Vec<ToolEntry>,
        crashes: BTreeSet<usize>,
        dispatch: Dispatch,
    ) -> Self {
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let ids = Ids::seeded(clock.clone(), 42);
        let threads: Vec<ThreadId> = scripts.iter().map(|_| ids.make()).collect();
        let mut world = Self {
            log: Vec::new(),
            runs: BTreeMap::new(),
            state: State::new(Policy { retries_max: 4, rounds_max: 60, ..Policy::default() }),
            ids,
            clock,
            turns: threads.iter().cloned().zip(scripts).collect(),
            threads: threads.clone(),
            failed: BTreeMap::new(),
            sent_after: BTreeSet::new(),
            crashes,
            dispatch,
            steps: 0,
            started: BTreeSet::new(),
            calls: vec!["bash".to_owned()],
        };
        for (index, thread) in threads.into_iter().enumerate() {
            let agent = AgentSnapshot {
                agent_name: format!("agent {index}"),
                model: "m".to_owned(),
                speed: None,
                effort: None,
                system: String::new(),
                tools: tools.clone(),
                runtime: RuntimeFacts::default(),
            };
            let is_primary = index == 0;
            let kind =
                if is_primary { EventKind::JournalSessionCreated } else { EventKind::JournalThreadCreated };
            let content = Content::Internal(kind);
            world.append(vec![Draft { thread, id: None, content, private: Some(raw(&agent)) }]);
        }
        world
    }

    /// A client's event enters the log, in the primary thread.
    pub(crate) fn client(&mut self, kind: &str, body: Value) -> EventId {
        self.client_in(0, kind, body)
    }

    /// A client's event enters the log.
    pub(crate) fn client_in(&mut self, thread: usize, kind: &str, mut body: Value) -> EventId {
        let id: EventId = self.ids.make();
        body["id"] = json!(id);
        body["type"] = json!(kind);
        let kind = EventKind::parse(kind);
        let now = self.clock.now();
        let entry = NewEntry {
            thread: self.threads[thread].clone(),
            id: id.clone(),
            processed_at: (kind == EventKind::UserCustomToolResult).then_some(now),
            kind,
            public: Some(raw(&body)),
            private: None,
            created_at: now,
            processes: None,
        };
        self.store(entry);
        id
    }

    pub(crate) fn thread(&self, index: usize) -> &ThreadId {
        &self.threads[index]
    }

    pub(crate) fn say(&mut self, text: &str) -> EventId {
        self.say_in(0, text)
    }

    pub(crate) fn say_in(&mut self, thread: usize, text: &str) -> EventId {
        self.client_in(thread, "user.message", json!({"content": [{"type": "text", "text": text}]}))
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
                self.started.extend(effects.iter().filter_map(started));
                // In which thread something ends first is chance.
                let threads: BTreeSet<ThreadId> =
                    effects.iter().map(|effect| effect.thread().clone()).collect();
                let Some(chosen) = threads.iter().nth(self.steps % threads.len().max(1)) else {
                    return false;
                };
                let chosen = effects.into_iter().find(|effect| effect.thread() == chosen);
                self.perform(chosen.unwrap());
            }
        }
        true
    }

    fn crash(&mut self) {
        match (decide(&self.state), self.dispatch) {
            (Decision::Perform(effects), Dispatch::All) => {
                for call in effects.iter().filter_map(started) {
                    *self.runs.entry(call).or_default() += 1;
                }
            }
            // One thread was about to write; what others had begun goes on.
            (Decision::Write(_), Dispatch::All) => {
                for call in &self.started {
                    self.runs.entry(call.clone()).or_insert(1);
                }
            }
            (Decision::Perform(_) | Decision::Write(_), Dispatch::None) => {}
        }
        self.state = State::fold(Policy { retries_max: 4, rounds_max: 60, ..Policy::default() }, &self.log);
        if self.state.is_active() {
            let content = Content::Internal(EventKind::JournalSessionResumed);
            let thread = self.threads[0].clone();
            self.append(vec![Draft { thread, id: None, content, private: None }]);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let thread = effect.thread().clone();
        let done = match effect {
            Effect::Ask { span, .. } => self.ask(&thread, span),
            Effect::CancelAsk { span, .. } => EffectDone::Stopped { span },
            Effect::Start { call, .. } => {
                *self.runs.entry(call.clone()).or_default() += 1;
                finished(call)
            }
            Effect::Recover { call, .. } if self.runs.contains_key(&call) => finished(call),
            Effect::Recover { call, .. } => EffectDone::Called { call, end: CallEnd::Unknown },
            Effect::Cancel { call, .. } => EffectDone::Called { call, end: CallEnd::Cancelled },
            Effect::Wait { until, .. } => {
                self.clock.advance_millis(until.millis_since(self.clock.now()));
                EffectDone::Waited
            }
        };
        let drafts = observe(&self.state, &thread, done);
        self.append(drafts);
        self.send_messages_that_are_due(&thread);
    }

    fn ask(&mut self, thread: &ThreadId, span: EventId) -> EffectDone {
        let index = self.replies(thread);
        let turn = self.turns[thread].get(index).cloned();
        let turn = turn.unwrap_or(Turn {
            failures_before: 0,
            calls: 0,
            has_thinking: false,
            has_text: true,
            messages_after: 0,
        });
        let failed = self.failed.entry((thread.clone(), index)).or_default();
        if *failed < turn.failures_before {
            *failed += 1;
            let failure = Failure {
                kind: FailureKind::Overloaded,
                message: "overloaded".to_owned(),
                retry_after_ms: None,
            };
            return EffectDone::Failed { span, failure, at: self.clock.now(), jitter_permille: 500 };
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
            let name = &self.calls[call % self.calls.len()];
            blocks.push(json!({"type": "tool_use", "id": format!("toolu_{index}_{call}"), "name": name, "input": input}));
        }
        let blocks: Vec<_> = blocks.iter().map(raw).collect();
        let ids = blocks.iter().map(|_| self.ids.make()).collect();
        let stop_reason = if turn.calls > 0 { "tool_use" } else { "end_turn" }.to_owned();
        let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        let reply = Reply { blocks, stop_reason, stop_details: None, usage, model: None };
        EffectDone::Replied { span, reply, ids, cost_microcents: None }
    }

    fn replies(&self, thread: &ThreadId) -> usize {
        let ends = self.log.iter().filter(|entry| entry.kind == EventKind::SpanModelRequestEnd);
        let ends = ends.filter(|entry| entry.thread == *thread);
        ends.filter(|entry| json_of(&entry.private)["has_reply"] == json!(true)).count()
    }

    fn send_messages_that_are_due(&mut self, thread: &ThreadId) {
        let replies = self.replies(thread);
        if replies > 0 && self.sent_after.insert((thread.clone(), replies)) {
            let count = self.turns[thread].get(replies - 1).map_or(0, |turn| turn.messages_after);
            let index = self.threads.iter().position(|other| other == thread).unwrap();
            for place in 0..count {
                self.say_in(index, &format!("after {replies}.{place}"));
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
                thread: draft.thread,
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
        self.history_of(|_| true)
    }

    /// The same of the entries that are wanted.
    pub(crate) fn history_of(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<Value> {
        let ends = self.log.iter().filter(|entry| entry.kind == EventKind::SpanModelRequestEnd);
        let ends = ends.map(|entry| json_of(&entry.public)).filter(|end| end["is_error"] == json!(true));
        let aborted: BTreeSet<String> =
            ends.map(|end| end["model_request_start_id"].as_str().unwrap().to_owned()).collect();
        let is_of_aborted = |id: &Value| id.as_str().is_some_and(|id| aborted.contains(id));
        let mut history = Vec::new();
        for entry in self.log.iter().filter(|entry| is_wanted(entry)) {
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

fn started(effect: &Effect) -> Option<EventId> {
    match effect {
        Effect::Start { call, .. } => Some(call.clone()),
        Effect::Ask { .. }
        | Effect::CancelAsk { .. }
        | Effect::Recover { .. }
        | Effect::Cancel { .. }
        | Effect::Wait { .. } => None,
    }
}

fn finished(call: EventId) -> EffectDone {
    let end = CallEnd::Result { content: vec![text_block("done")], is_error: false };
    EffectDone::Called { call, end }
}

#[expect(clippy::ref_option, reason = "called on fields of entries")]
pub(crate) fn json_of(raw: &Option<Arc<serde_json::value::RawValue>>) -> Value {
    raw.as_ref().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap())
}
