//! The fold of a session's log.

use std::collections::VecDeque;
use std::sync::Arc;

use api::completion::Message;
use api::completion::Role;
use api::entry::Entry;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::sessions::Progress;
use api::time::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use super::facts::Facts;
use super::notes;
use super::notes::Unstarted;
use super::progress;

/// Bounds of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often a request that failed for a passing reason is asked again.
    pub retries_max: u32,
    /// Pause before the first retry; it doubles with every further one.
    pub backoff_base_ms: u32,
    /// Longest pause between retries of our own choosing.
    pub backoff_max_ms: u32,
    /// Longest pause that a provider may ask for; a longer one ends the turn instead.
    pub retry_after_max_ms: u32,
    /// Model requests in one turn.
    pub rounds_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries_max: 8,
            backoff_base_ms: 500,
            backoff_max_ms: 30_000,
            retry_after_max_ms: 600_000,
            rounds_max: 500,
        }
    }
}

/// Everything that the next decision depends on.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) policy: Policy,
    /// Absent until the first entry was applied.
    pub(crate) facts: Option<Facts>,
    created_at: Option<Timestamp>,
    /// What the model has seen and said.
    pub(crate) conversation: Vec<Message>,
    /// Messages that wait, oldest first.
    pub(crate) inputs: VecDeque<Input>,
    /// Interrupts that have not been applied yet.
    pub(crate) interrupts: VecDeque<EventId>,
    /// The turn under way.
    pub(crate) turn: Option<Turn>,
    pub(crate) is_terminated: bool,
    /// Usage and times, as the session resource tells them.
    pub progress: Progress,
}

/// A client's message that waits for its turn.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) id: EventId,
    pub(crate) content: Vec<Arc<RawValue>>,
}

/// From `session.status_running` to `session.status_idle`.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The model request under way.
    pub(crate) request: Option<OpenRequest>,
    /// Blocks of the reply whose request is still open in the log.
    reply: Vec<Arc<RawValue>>,
    /// Tool calls without a result.
    pub(crate) calls: Vec<OpenCall>,
    /// Results of the calls of the last reply, in the order of their arrival.
    results: Vec<Arc<RawValue>>,
    /// What follows once nothing is under way.
    pub(crate) next: Next,
    /// Requests of this turn that brought a reply.
    pub(crate) rounds: u32,
    /// Failures since the last reply.
    pub(crate) failures: u32,
    /// What clients were told last of why there is no sandbox.
    pub(crate) trouble: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct OpenRequest {
    pub(crate) span: EventId,
    /// Its asker died.
    pub(crate) is_lost: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct OpenCall {
    /// The `agent.tool_use` event.
    pub(crate) event: EventId,
    /// The id that the model gave the call.
    model_id: String,
    pub(crate) name: String,
    pub(crate) input: Arc<RawValue>,
    /// When the intent was written.
    wanted_at: Timestamp,
    /// The one who started it died; the sandbox knows what became of it.
    pub(crate) is_lost: bool,
}

/// What follows once nothing is under way.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Ask the model.
    Ask,
    /// The model said its last word.
    Answered { stop_reason: String, stop_details: Option<Arc<RawValue>> },
    /// Ask the model again at this time.
    Retry { at: Timestamp },
    /// The turn is dead.
    GiveUp,
}

impl State {
    /// The state before the first entry.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            facts: None,
            created_at: None,
            conversation: Vec::new(),
            inputs: VecDeque::new(),
            interrupts: VecDeque::new(),
            turn: None,
            is_terminated: false,
            progress: Progress::default(),
        }
    }

    /// The state after these entries.
    pub fn fold<'a>(policy: Policy, entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut state = Self::new(policy);
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// The session's agent, once known.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Whether a turn is under way.
    pub fn is_active(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether nothing is under way and nothing waits.
    pub fn is_at_rest(&self) -> bool {
        self.is_terminated || (self.turn.is_none() && self.inputs.is_empty() && self.interrupts.is_empty())
    }

    /// Bytes of conversation that it holds.
    pub fn bytes(&self) -> usize {
        let blocks = self.conversation.iter().flat_map(|message| &message.content);
        blocks.map(|block| block.get().len()).sum()
    }

    /// An open call's tool and input.
    pub fn call(&self, event: &EventId) -> Option<(&str, &Arc<RawValue>)> {
        self.open_call(event).map(|call| (call.name.as_str(), &call.input))
    }

    /// When an open call's intent was written.
    pub fn wanted_at(&self, event: &EventId) -> Option<Timestamp> {
        self.open_call(event).map(|call| call.wanted_at)
    }

    fn open_call(&self, event: &EventId) -> Option<&OpenCall> {
        self.turn.as_ref()?.calls.iter().find(|call| call.event == *event)
    }

    /// Takes the next entry of the log into account.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.kind {
            EventKind::JournalSessionCreated | EventKind::SessionUpdated => {
                self.created_at.get_or_insert(entry.created_at);
                if let Some(facts) =
                    entry.private.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok())
                {
                    self.facts = Some(facts);
                }
            }
            EventKind::JournalSessionResumed => self.lose_everything_under_way(),
            EventKind::JournalInputProcessed => self.take_input(entry),
            EventKind::UserMessage => {
                let content = public::<WithContent>(entry).content;
                self.inputs.push_back(Input { id: entry.id.clone(), content });
            }
            EventKind::UserInterrupt => self.interrupts.push_back(entry.id.clone()),
            EventKind::SessionStatusRunning => {
                self.turn.get_or_insert_with(Turn::new);
                progress::start(&mut self.progress, entry.created_at, self.created_at);
            }
            EventKind::SessionStatusIdle => {
                self.turn = None;
                progress::stop(&mut self.progress, entry.created_at);
            }
            EventKind::SessionStatusTerminated => {
                self.turn = None;
                self.is_terminated = true;
                progress::stop(&mut self.progress, entry.created_at);
            }
            _ => {
                if let Some(turn) = &mut self.turn {
                    turn.apply(entry, &mut self.conversation, &mut self.progress);
                }
            }
        }
    }

    fn lose_everything_under_way(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        if let Some(request) = &mut turn.request {
            request.is_lost = true;
        }
        for call in &mut turn.calls {
            call.is_lost = true;
        }
    }

    fn take_input(&mut self, entry: &Entry) {
        let Some(id) = &entry.processes else { return };
        self.interrupts.retain(|interrupt| interrupt != id);
        let Some(place) = self.inputs.iter().position(|input| input.id == *id) else {
            return;
        };
        let input = self.inputs.remove(place).expect("the position was just found");
        if !notes::read::<notes::Processed>(entry.private.as_ref()).is_dropped {
            say(&mut self.conversation, Role::User, input.content);
        }
    }
}

impl Turn {
    fn new() -> Self {
        Self {
            request: None,
            reply: Vec::new(),
            calls: Vec::new(),
            results: Vec::new(),
            next: Next::Ask,
            rounds: 0,
            failures: 0,
            trouble: None,
        }
    }

    fn apply(&mut self, entry: &Entry, conversation: &mut Vec<Message>, progress: &mut Progress) {
        match &entry.kind {
            EventKind::SpanModelRequestStart => {
                self.request = Some(OpenRequest { span: entry.id.clone(), is_lost: false });
                self.reply.clear();
            }
            EventKind::AgentThinking | EventKind::JournalBlock => self.reply.extend(blocks(entry)),
            EventKind::AgentMessage => {
                let own = blocks(entry);
                let is_plain = own.is_empty();
                self.reply.extend(if is_plain { public::<WithContent>(entry).content } else { own });
            }
            EventKind::AgentToolUse => self.open_call(entry),
            EventKind::JournalCallUnstarted => {
                let Unstarted { call } = notes::read(entry.private.as_ref());
                let calls = self.calls.iter_mut().filter(|open| Some(&open.event) == call.as_ref());
                // It may be begun now: nobody did before.
                calls.for_each(|open| open.is_lost = false);
            }
            EventKind::AgentToolResult => self.close_call(entry, conversation),
            EventKind::SpanModelRequestEnd => {
                let end: notes::RequestEnd = notes::read(entry.private.as_ref());
                progress::spend(progress, &end.usage, end.cost_microcents);
                self.end_request(end, conversation);
            }
            EventKind::SessionError => {
                let notes::Trouble { retry_at, is_of_sandbox } = notes::read(entry.private.as_ref());
                if is_of_sandbox {
                    self.trouble = Some(public::<WithError>(entry).error.message);
                } else {
                    self.failures += 1;
                    self.next = retry_at.map_or(Next::GiveUp, |at| Next::Retry { at });
                }
            }
            _ => {}
        }
    }

    fn open_call(&mut self, entry: &Entry) {
        let own = blocks(entry);
        let parsed = own.first().and_then(|raw| serde_json::from_str::<notes::ToolUseBlock>(raw.get()).ok());
        self.reply.extend(own);
        let Some(block) = parsed else { return };
        self.calls.push(OpenCall {
            event: entry.id.clone(),
            model_id: block.id,
            name: block.name,
            input: block.input.unwrap_or_else(|| raw(&serde_json::Map::new())),
            wanted_at: entry.created_at,
            is_lost: false,
        });
    }

    fn close_call(&mut self, entry: &Entry, conversation: &mut Vec<Message>) {
        let result: ToolResult = public(entry);
        let Some(place) = self.calls.iter().position(|call| Some(&call.event) == result.tool_use_id.as_ref())
        else {
            return;
        };
        let call = self.calls.remove(place);
        self.results.push(raw(&ResultBlock {
            kind: "tool_result",
            tool_use_id: &call.model_id,
            content: &result.content,
            is_error: result.is_error,
        }));
        // The reply enters the conversation when its request ends; a call that was refused on the spot is closed before.
        if self.calls.is_empty() && self.request.is_none() {
            say(conversation, Role::User, std::mem::take(&mut self.results));
        }
    }

    fn end_request(&mut self, end: notes::RequestEnd, conversation: &mut Vec<Message>) {
        self.request = None;
        let reply = std::mem::take(&mut self.reply);
        if !end.has_reply {
            // Nothing of it may be seen again: the request is asked anew, or the turn ends.
            self.next = Next::Ask;
            return;
        }
        self.rounds += 1;
        self.failures = 0;
        let has_called = !self.calls.is_empty() || !self.results.is_empty();
        say(conversation, Role::Assistant, reply);
        if self.calls.is_empty() {
            say(conversation, Role::User, std::mem::take(&mut self.results));
        }
        self.next = if has_called || end.stop_reason == "pause_turn" {
            Next::Ask
        } else {
            Next::Answered { stop_reason: end.stop_reason, stop_details: end.stop_details }
        };
    }
}

/// Adds to the conversation. Neighbours of one role become one message, since roles must alternate.
fn say(conversation: &mut Vec<Message>, role: Role, content: Vec<Arc<RawValue>>) {
    if content.is_empty() {
        return;
    }
    match conversation.last_mut() {
        Some(last) if last.role == role => last.content.extend(content),
        _ => conversation.push(Message { role, content }),
    }
}

fn blocks(entry: &Entry) -> Vec<Arc<RawValue>> {
    notes::read::<notes::Blocks>(entry.private.as_ref()).blocks
}

/// Reads what is needed of a public event. One that does not parse counts as empty: a log must always fold.
fn public<T: Default + for<'de> Deserialize<'de>>(entry: &Entry) -> T {
    entry.public.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

#[derive(Default, Deserialize)]
struct WithContent {
    #[serde(default)]
    content: Vec<Arc<RawValue>>,
}

#[derive(Default, Deserialize)]
struct WithError {
    #[serde(default)]
    error: ToldError,
}

#[derive(Default, Deserialize)]
struct ToldError {
    #[serde(default)]
    message: String,
}

#[derive(Default, Deserialize)]
struct ToolResult {
    tool_use_id: Option<EventId>,
    #[serde(default)]
    content: Vec<Arc<RawValue>>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Serialize)]
struct ResultBlock<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    tool_use_id: &'a str,
    content: &'a [Arc<RawValue>],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}
