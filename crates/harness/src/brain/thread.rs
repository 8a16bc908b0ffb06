//! One thread of a session: its agent, its conversation, what waits for it, and its turn.

use std::collections::VecDeque;
use std::sync::Arc;

use api::completion::Message;
use api::completion::Role;
use api::emitted::StopReason;
use api::entry::Entry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::sessions::Progress;
use api::sessions::SessionStatus;
use api::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::accounting;
use super::agent::AgentSnapshot;
use super::call::CallState;
use super::private;
use super::turn::Next;
use super::turn::OpenRequest;
use super::turn::Turn;

/// A line of work within a session.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) agent: AgentSnapshot,
    created_at: Timestamp,
    /// What the model has seen and said.
    pub(crate) conversation: Conversation,
    /// Messages that wait, oldest first.
    pub(crate) inputs: VecDeque<Input>,
    /// Answers of the client that have not been taken to their calls, oldest first.
    pub(crate) answers: VecDeque<Answer>,
    /// The turn under way, or waiting for the client.
    pub(crate) turn: Option<Turn>,
    /// The status that was announced last.
    pub(crate) status: SessionStatus,
    /// Why it is idle.
    pub(crate) stop_reason: Option<StopReason>,
    /// Usage and times.
    pub(crate) accounting: Progress,
}

/// A client's message that waits for its turn.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) id: EventId,
    pub(crate) content: Vec<Arc<RawValue>>,
}

/// A client's answer to a call.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) id: EventId,
    /// The call, as the client names it.
    pub(crate) call: Option<EventId>,
    pub(crate) says: Says,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// The call may run.
    Allow,
    /// The call must not run.
    Deny { message: Option<String> },
    /// The result of a call that the client ran.
    Result { content: Vec<Arc<RawValue>>, is_error: bool },
}

/// The messages of a thread. Roles alternate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation(Vec<Message>);

impl Conversation {
    pub(crate) fn messages(&self) -> &[Message] {
        &self.0
    }

    /// Adds content. Neighbours of one role become one message.
    pub(crate) fn push(&mut self, role: Role, content: Vec<Arc<RawValue>>) {
        if content.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            _ => self.0.push(Message { role, content }),
        }
    }
}

impl Thread {
    pub(crate) fn new(agent: AgentSnapshot, created_at: Timestamp) -> Self {
        Self {
            agent,
            created_at,
            conversation: Conversation::default(),
            inputs: VecDeque::new(),
            answers: VecDeque::new(),
            turn: None,
            status: SessionStatus::Idle,
            stop_reason: None,
            accounting: Progress::default(),
        }
    }

    /// Bytes of conversation that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.conversation.messages().iter().flat_map(|message| &message.content);
        blocks.map(|block| block.get().len()).sum()
    }

    /// Takes an entry of this thread into account. Kinds of the session as a whole never come here.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        match &entry.kind {
            EventKind::UserMessage => {
                let content = public::<WithContent>(entry).content;
                self.inputs.push_back(Input { id: entry.id.clone(), content });
            }
            EventKind::UserToolConfirmation => {
                let Confirmation { tool_use_id: call, result, deny_message: message } = public(entry);
                let says = if result == "allow" { Says::Allow } else { Says::Deny { message } };
                self.answers.push_back(Answer { id: entry.id.clone(), call, says });
            }
            EventKind::UserCustomToolResult => {
                let ClientResult { custom_tool_use_id: call, content, is_error } = public(entry);
                let says = Says::Result { content, is_error };
                self.answers.push_back(Answer { id: entry.id.clone(), call, says });
            }
            EventKind::JournalInputProcessed => self.take_input(entry),
            EventKind::JournalCallAnswered => {
                let private::Answered { answer } = private::read(entry.private.as_ref());
                self.take_answer(answer.as_ref());
            }
            EventKind::SessionThreadStatusRunning => {
                self.turn.get_or_insert_with(Turn::new);
                self.status = SessionStatus::Running;
                accounting::start(&mut self.accounting, entry.created_at, self.created_at);
            }
            EventKind::SessionThreadStatusRescheduled => self.status = SessionStatus::Rescheduling,
            EventKind::SessionThreadStatusIdle => self.idle(entry),
            EventKind::SessionThreadStatusTerminated => {
                self.turn = None;
                self.status = SessionStatus::Terminated;
                accounting::stop(&mut self.accounting, entry.created_at);
            }
            EventKind::SpanModelRequestEnd => {
                let end: private::RequestEnd = private::read(entry.private.as_ref());
                accounting::spend(&mut self.accounting, &end.usage, end.cost_microcents);
                if let Some(turn) = &mut self.turn {
                    turn.end_request(end, &mut self.conversation);
                }
            }
            EventKind::SpanModelRequestStart
            | EventKind::AgentThinking
            | EventKind::JournalBlock
            | EventKind::AgentMessage
            | EventKind::AgentToolUse
            | EventKind::AgentCustomToolUse
            | EventKind::AgentToolResult
            | EventKind::JournalCallUnstarted
            | EventKind::SessionError => self.apply_to_turn(entry),
            // Kinds of the session as a whole, kinds that no thread of this version makes, and unknown ones.
            EventKind::UserInterrupt
            | EventKind::UserDefineOutcome
            | EventKind::UserToolResult
            | EventKind::SystemMessage
            | EventKind::AgentMcpToolUse
            | EventKind::AgentMcpToolResult
            | EventKind::AgentThreadMessageReceived
            | EventKind::AgentThreadMessageSent
            | EventKind::AgentThreadContextCompacted
            | EventKind::SessionStatusRescheduled
            | EventKind::SessionStatusRunning
            | EventKind::SessionStatusIdle
            | EventKind::SessionStatusTerminated
            | EventKind::SessionThreadCreated
            | EventKind::SessionUpdated
            | EventKind::SessionUsage
            | EventKind::SessionDeleted
            | EventKind::SpanOutcomeEvaluationStart
            | EventKind::SpanOutcomeEvaluationEnd
            | EventKind::SpanOutcomeEvaluationOngoing
            | EventKind::WorkflowRunCreated
            | EventKind::WorkflowRunStatusRunning
            | EventKind::WorkflowRunStatusIdle
            | EventKind::WorkflowRunStatusEnded
            | EventKind::WorkflowRunError
            | EventKind::WorkflowRunPhaseStarted
            | EventKind::WorkflowRunPhaseEnded
            | EventKind::EventStart
            | EventKind::EventDelta
            | EventKind::JournalSessionCreated
            | EventKind::JournalThreadCreated
            | EventKind::JournalSessionResumed
            | EventKind::Other(_) => {}
        }
    }

    fn apply_to_turn(&mut self, entry: &Entry) {
        let Some(turn) = &mut self.turn else { return };
        if entry.kind == EventKind::SpanModelRequestStart {
            let private::RequestStart { purpose } = private::read(entry.private.as_ref());
            turn.request = Some(OpenRequest { span: entry.id.clone(), purpose, is_lost: false });
            turn.reply.clear();
        } else if entry.kind == EventKind::AgentToolUse || entry.kind == EventKind::AgentCustomToolUse {
            turn.add_call(entry, &self.agent);
        } else if entry.kind == EventKind::AgentToolResult {
            let ToolResult { tool_use_id, content, is_error } = public(entry);
            if let Some(call) =
                tool_use_id.and_then(|event| turn.call_mut(&event)).filter(|call| call.is_open())
            {
                call.finish(&content, is_error);
            }
            turn.settle_calls(&mut self.conversation);
        } else if entry.kind == EventKind::JournalCallUnstarted {
            let private::Unstarted { call } = private::read(entry.private.as_ref());
            // It may be begun now: nobody did before.
            if let Some(call) = call.and_then(|event| turn.call_mut(&event)).filter(|call| call.is_open()) {
                call.state = CallState::Ready { is_lost: false };
            }
        } else if entry.kind == EventKind::SessionError {
            let private::ErrorNote { retry_at, is_of_sandbox } = private::read(entry.private.as_ref());
            if is_of_sandbox {
                turn.trouble = Some(public::<WithError>(entry).error.message);
            } else {
                turn.failures += 1;
                turn.next = retry_at.map_or(Next::GiveUp, |at| Next::Retry { at });
            }
        } else {
            let private::Blocks { blocks } = private::read(entry.private.as_ref());
            let is_plain = blocks.is_empty();
            turn.reply.extend(if is_plain { public::<WithContent>(entry).content } else { blocks });
        }
    }

    fn idle(&mut self, entry: &Entry) {
        let reason = public::<WithStopReason>(entry).stop_reason;
        if !matches!(reason, Some(StopReason::RequiresAction { .. })) {
            self.turn = None;
        }
        self.stop_reason = reason;
        self.status = SessionStatus::Idle;
        accounting::stop(&mut self.accounting, entry.created_at);
    }

    fn take_input(&mut self, entry: &Entry) {
        let Some(id) = &entry.processes else { return };
        if self.answers.iter().any(|answer| answer.id == *id) {
            return self.take_answer(Some(id));
        }
        let Some(position) = self.inputs.iter().position(|input| input.id == *id) else { return };
        let input = self.inputs.remove(position).expect("the position was just found");
        if !private::read::<private::Processed>(entry.private.as_ref()).is_dropped {
            self.conversation.push(Role::User, input.content);
        }
    }

    /// Takes an answer to its call. It has no effect when the call does not wait for one like it.
    fn take_answer(&mut self, answer: Option<&EventId>) {
        let position = self.answers.iter().position(|waiting| Some(&waiting.id) == answer);
        let Some(Answer { id: _, call, says }) = position.and_then(|position| self.answers.remove(position))
        else {
            return;
        };
        let Some(turn) = &mut self.turn else { return };
        if let Some(call) = call.and_then(|event| turn.call_mut(&event)) {
            match (&call.state, says) {
                (CallState::Asking, Says::Allow) => call.state = CallState::Ready { is_lost: false },
                (CallState::Waiting, Says::Result { content, is_error }) => call.finish(&content, is_error),
                // A refusal becomes a result, which the brain writes beside this entry.
                (
                    CallState::Asking | CallState::Ready { .. } | CallState::Waiting | CallState::Done(_),
                    _,
                ) => {}
            }
        }
        turn.settle_calls(&mut self.conversation);
    }
}

/// Reads what is needed of a public event. One that does not parse counts as empty: a log must always fold.
pub(crate) fn public<T: Default + for<'de> Deserialize<'de>>(entry: &Entry) -> T {
    entry.public.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

#[derive(Default, Deserialize)]
struct WithContent {
    #[serde(default)]
    content: Vec<Arc<RawValue>>,
}

#[derive(Default, Deserialize)]
struct WithStopReason {
    #[serde(default)]
    stop_reason: Option<StopReason>,
}

#[derive(Default, Deserialize)]
struct WithError {
    #[serde(default)]
    error: ErrorMessage,
}

#[derive(Default, Deserialize)]
struct ErrorMessage {
    #[serde(default)]
    message: String,
}

#[derive(Default, Deserialize)]
struct Confirmation {
    tool_use_id: Option<EventId>,
    #[serde(default)]
    result: String,
    #[serde(default)]
    deny_message: Option<String>,
}

#[derive(Default, Deserialize)]
struct ClientResult {
    custom_tool_use_id: Option<EventId>,
    #[serde(default)]
    content: Vec<Arc<RawValue>>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Default, Deserialize)]
struct ToolResult {
    tool_use_id: Option<EventId>,
    #[serde(default)]
    content: Vec<Arc<RawValue>>,
    #[serde(default)]
    is_error: bool,
}
