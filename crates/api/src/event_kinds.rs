//! The kinds of entries in a session's log: one table of wire name, sender and visibility.
//!
//! Every other list of kinds is derived from this table: what a client may send, what a list can be filtered by, what
//! the brain folds. A name that is not in the table becomes [`EventKind::Other`], so that a log written by a newer
//! version still reads, and keeps its name.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// Who puts events of a kind into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client, with a request to send events.
    Client,
    /// The server.
    Server,
}

/// Where events of a kind can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Stored, listed and streamed.
    Public,
    /// Shown on streams and not stored.
    StreamOnly,
    /// Stored for the server alone.
    Internal,
}

// A macro, so that a kind's variant, name, sender and visibility stand in one line and cannot disagree.
macro_rules! event_kinds {
    ($($variant:ident = $name:literal, $sender:ident, $visibility:ident;)*) => {
        /// Kind of an event or entry. The variants are named as on the wire.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant is its name on the wire, which the API reference explains")]
        pub enum EventKind {
            $($variant,)*
            /// A kind that this version does not know.
            Other(Arc<str>),
        }

        impl EventKind {
            /// Every known kind, in the order in which messages to clients list them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire and in the store.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }

            /// The kind of that name.
            pub fn parse(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(Arc::from(other)),
                }
            }

            /// Who sends it.
            pub fn sender(&self) -> Sender {
                match self {
                    $(Self::$variant => Sender::$sender,)*
                    Self::Other(_) => Sender::Server,
                }
            }

            /// Where it can be seen.
            pub fn visibility(&self) -> Visibility {
                match self {
                    $(Self::$variant => Visibility::$visibility,)*
                    Self::Other(_) => Visibility::Public,
                }
            }
        }
    };
}

event_kinds! {
    UserMessage = "user.message", Client, Public;
    UserInterrupt = "user.interrupt", Client, Public;
    UserToolConfirmation = "user.tool_confirmation", Client, Public;
    UserCustomToolResult = "user.custom_tool_result", Client, Public;
    AgentCustomToolUse = "agent.custom_tool_use", Server, Public;
    AgentMessage = "agent.message", Server, Public;
    AgentThinking = "agent.thinking", Server, Public;
    AgentMcpToolUse = "agent.mcp_tool_use", Server, Public;
    AgentMcpToolResult = "agent.mcp_tool_result", Server, Public;
    AgentToolUse = "agent.tool_use", Server, Public;
    AgentToolResult = "agent.tool_result", Server, Public;
    AgentThreadMessageReceived = "agent.thread_message_received", Server, Public;
    AgentThreadMessageSent = "agent.thread_message_sent", Server, Public;
    AgentThreadContextCompacted = "agent.thread_context_compacted", Server, Public;
    SessionError = "session.error", Server, Public;
    SessionStatusRescheduled = "session.status_rescheduled", Server, Public;
    SessionStatusRunning = "session.status_running", Server, Public;
    SessionStatusIdle = "session.status_idle", Server, Public;
    SessionStatusTerminated = "session.status_terminated", Server, Public;
    SessionThreadCreated = "session.thread_created", Server, Public;
    SpanOutcomeEvaluationStart = "span.outcome_evaluation_start", Server, Public;
    SpanOutcomeEvaluationEnd = "span.outcome_evaluation_end", Server, Public;
    SpanModelRequestStart = "span.model_request_start", Server, Public;
    SpanModelRequestEnd = "span.model_request_end", Server, Public;
    SpanOutcomeEvaluationOngoing = "span.outcome_evaluation_ongoing", Server, Public;
    UserDefineOutcome = "user.define_outcome", Client, Public;
    SessionThreadStatusRunning = "session.thread_status_running", Server, Public;
    SessionThreadStatusIdle = "session.thread_status_idle", Server, Public;
    SessionThreadStatusTerminated = "session.thread_status_terminated", Server, Public;
    UserToolResult = "user.tool_result", Client, Public;
    SessionThreadStatusRescheduled = "session.thread_status_rescheduled", Server, Public;
    SessionUpdated = "session.updated", Server, Public;
    SystemMessage = "system.message", Client, Public;
    SessionUsage = "session.usage", Server, Public;
    WorkflowRunCreated = "workflow_run.created", Server, Public;
    WorkflowRunStatusRunning = "workflow_run.status_running", Server, Public;
    WorkflowRunStatusIdle = "workflow_run.status_idle", Server, Public;
    WorkflowRunStatusEnded = "workflow_run.status_ended", Server, Public;
    WorkflowRunError = "workflow_run.error", Server, Public;
    WorkflowRunPhaseStarted = "workflow_run.phase_started", Server, Public;
    WorkflowRunPhaseEnded = "workflow_run.phase_ended", Server, Public;
    SessionDeleted = "session.deleted", Server, StreamOnly;
    EventStart = "event_start", Server, StreamOnly;
    EventDelta = "event_delta", Server, StreamOnly;
    // The first entry of every session: `private` holds what the brain must know of it.
    JournalSessionCreated = "journal.session_created", Server, Internal;
    // The first entry of every other thread: `private` holds what the brain must know of it.
    JournalThreadCreated = "journal.thread_created", Server, Internal;
    // A new owner took the session up after its last one died. Everything in flight at this point was lost.
    JournalSessionResumed = "journal.session_resumed", Server, Internal;
    // The tool call named in the private part was never begun, although the process that was to begin it is dead.
    JournalCallUnstarted = "journal.call_unstarted", Server, Internal;
    // The client's answer named in the private part was taken to the call that waits for it, if one does.
    JournalCallAnswered = "journal.call_answered", Server, Internal;
    // The event named in `processes` was picked up; from here on its `processed_at` is set.
    JournalInputProcessed = "journal.input_processed", Server, Internal;
    // A model block that has no public event, such as one of a type that we do not know.
    JournalBlock = "journal.block", Server, Internal;
}

impl EventKind {
    /// Names of the events that are stored and public, which are those that a list can be filtered by.
    pub fn listed() -> Vec<&'static str> {
        names(|kind| kind.visibility() == Visibility::Public)
    }

    /// Names of the events that a client may send.
    pub fn sent_by_clients() -> Vec<&'static str> {
        names(|kind| kind.sender() == Sender::Client)
    }
}

fn names(is_wanted: impl Fn(&EventKind) -> bool) -> Vec<&'static str> {
    EventKind::ALL.iter().filter(|kind| is_wanted(kind)).map(EventKind::as_str).collect()
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self::parse(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_kind_and_an_unknown_one_keeps_its_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), *kind);
        }
        let unknown: EventKind = serde_json::from_str("\"agent.dreamed\"").unwrap();
        assert_eq!(unknown, EventKind::Other("agent.dreamed".into()));
        assert_eq!(serde_json::to_string(&unknown).unwrap(), "\"agent.dreamed\"");
    }
}
