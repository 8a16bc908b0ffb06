//! Calls that wait for the client, and the check of what a client sends against them. Pure; a part of the fence, so that
//! it holds at the moment of the append.
//!
//! A second answer to a call is admitted and has no effect. A message is refused while an idle session waits; an
//! interrupt or the last answer before it in the same append makes room for it.

use api::entry::NewEntry;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::ThreadId;
use serde::Deserialize;
use serde::Serialize;

use crate::Error;

/// A call that waits for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The event of the call.
    pub call: EventId,
    /// The thread that calls.
    pub thread: ThreadId,
    /// What it waits for.
    pub wants: Wants,
    /// Whether an answer is in the log already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_answered: bool,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wants {
    /// Permission to run.
    Confirmation,
    /// The result of a custom tool.
    Result,
}

/// What an entry of a client answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The event of the call, as the client names it.
    pub call: EventId,
    /// What the answer is.
    pub gives: Wants,
    /// The log has such a call of this session, whether it still waits or not. Calls never leave the log, so the caller
    /// may look it up before the append.
    pub is_known: bool,
}

/// The calls that wait after these entries of a client; or the reason to refuse them. `answers` belong to the entries that
/// are answers, in their order.
pub(crate) fn admit(
    waiting: &[Waiting],
    is_idle: bool,
    entries: &[NewEntry],
    answers: &[Answer],
) -> Result<Vec<Waiting>, Error> {
    let mut waiting = waiting.to_vec();
    let mut answers = answers.iter();
    for entry in entries {
        if matches!(entry.kind, EventKind::UserToolConfirmation | EventKind::UserCustomToolResult) {
            if let Some(Answer { call, gives, is_known }) = answers.next() {
                match waiting.iter_mut().find(|waiting| waiting.call == *call && waiting.wants == *gives) {
                    Some(waiting) => waiting.is_answered = true,
                    None if *is_known => {}
                    None => return Err(Error::NotWaiting { call: call.clone() }),
                }
            }
        } else if entry.kind == EventKind::UserInterrupt {
            let target = target(entry);
            let stopped =
                |waiting: &&mut Waiting| target.as_ref().is_none_or(|target| *target == waiting.thread);
            waiting.iter_mut().filter(stopped).for_each(|waiting| waiting.is_answered = true);
        } else if matches!(entry.kind, EventKind::UserMessage | EventKind::UserDefineOutcome) && is_idle {
            let calls: Vec<EventId> = waiting
                .iter()
                .filter(|waiting| !waiting.is_answered)
                .map(|waiting| waiting.call.clone())
                .collect();
            if !calls.is_empty() {
                return Err(Error::Waiting { calls });
            }
        }
    }
    Ok(waiting)
}

/// The thread that an interrupt names; it closes the calls of all threads when it names none.
fn target(interrupt: &NewEntry) -> Option<ThreadId> {
    #[derive(Deserialize)]
    struct Targeted {
        #[serde(default)]
        session_thread_id: Option<ThreadId>,
    }
    let public = interrupt.public.as_ref()?;
    serde_json::from_str::<Targeted>(public.get()).ok()?.session_thread_id
}

/// What the holder of the lease says waits, with the answers that it has not seen yet.
pub(crate) fn replace(old: &[Waiting], new: &[Waiting]) -> Vec<Waiting> {
    let is_answered = |call: &EventId| old.iter().any(|waiting| waiting.call == *call && waiting.is_answered);
    let keep = |waiting: &Waiting| Waiting { is_answered: is_answered(&waiting.call), ..waiting.clone() };
    new.iter().map(keep).collect()
}
