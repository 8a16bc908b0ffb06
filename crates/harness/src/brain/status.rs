//! The session's status as a function of its threads, and the events that announce it.

use std::collections::BTreeMap;

use api::emitted::Emitted;
use api::emitted::StopReason;
use api::ids::ThreadId;
use api::sessions::SessionStatus;

use super::Content;
use super::Draft;
use super::session::State;

/// The status of a session whose threads have these: it works while one of them does.
fn aggregate(threads: impl Iterator<Item = SessionStatus> + Clone) -> SessionStatus {
    let any = |wanted| threads.clone().any(|status| status == wanted);
    if any(SessionStatus::Running) {
        SessionStatus::Running
    } else if any(SessionStatus::Rescheduling) {
        SessionStatus::Rescheduling
    } else if any(SessionStatus::Idle) {
        SessionStatus::Idle
    } else {
        SessionStatus::Terminated
    }
}

/// Adds the session's own status to what its threads announce: `running` before the first thread that runs, the others
/// behind the last thread that stops. An idle session repeats its idle event when a thread waits for other calls.
pub(crate) fn announce(state: &State, drafts: Vec<Draft>) -> Vec<Draft> {
    let Some(primary) = &state.primary else { return drafts };
    let mut statuses: BTreeMap<&ThreadId, SessionStatus> =
        state.threads.iter().map(|(id, thread)| (id, thread.status)).collect();
    let mut reasons: BTreeMap<&ThreadId, StopReason> =
        state.threads.iter().filter_map(|(id, thread)| Some((id, thread.stop_reason.clone()?))).collect();
    let mut announced = state.status;
    let mut all = Vec::with_capacity(drafts.len() + 2);
    for draft in drafts {
        let Some((thread, status)) = thread_status(state, &draft) else {
            all.push(draft);
            continue;
        };
        statuses.insert(thread, status);
        let (was, now) = (announced, aggregate(statuses.values().copied()));
        announced = now;
        if now == SessionStatus::Running && was != now {
            all.push(Draft::event(primary, Emitted::Running));
        }
        if let Content::Event(Emitted::ThreadIdle { stop_reason, .. }) = &draft.content {
            reasons.insert(thread, stop_reason.clone());
        }
        let idle = idle_event(&draft, &statuses, &reasons);
        all.push(draft);
        match now {
            SessionStatus::Rescheduling if was != now => {
                all.push(Draft::event(primary, Emitted::Rescheduled))
            }
            SessionStatus::Idle => {
                all.push(Draft {
                    thread: primary.clone(),
                    id: None,
                    content: Content::UsageSnapshot,
                    private: None,
                });
                all.extend(idle.map(|event| Draft::event(primary, event)));
            }
            SessionStatus::Running | SessionStatus::Rescheduling | SessionStatus::Terminated => {}
        }
    }
    all
}

/// The status that a draft gives its thread.
fn thread_status<'a>(state: &'a State, draft: &Draft) -> Option<(&'a ThreadId, SessionStatus)> {
    let Content::Event(event) = &draft.content else { return None };
    let (thread, _) = state.threads.get_key_value(&draft.thread)?;
    match event {
        Emitted::ThreadRunning { .. } => Some((thread, SessionStatus::Running)),
        Emitted::ThreadIdle { .. } => Some((thread, SessionStatus::Idle)),
        Emitted::ThreadRescheduled { .. } => Some((thread, SessionStatus::Rescheduling)),
        _ => None,
    }
}

/// The session's idle event: what all threads wait for, or else why the last of them stopped.
fn idle_event(
    draft: &Draft,
    statuses: &BTreeMap<&ThreadId, SessionStatus>,
    reasons: &BTreeMap<&ThreadId, StopReason>,
) -> Option<Emitted> {
    let Content::Event(Emitted::ThreadIdle { stop_reason, stop_details, .. }) = &draft.content else {
        return None;
    };
    let idle = reasons.iter().filter(|(thread, _)| statuses.get(*thread) == Some(&SessionStatus::Idle));
    let waiting: Vec<_> = idle
        .filter_map(|(_, reason)| match reason {
            StopReason::RequiresAction { event_ids } => Some(event_ids.clone()),
            StopReason::EndTurn | StopReason::RetriesExhausted | StopReason::Refusal => None,
        })
        .flatten()
        .collect();
    Some(if waiting.is_empty() {
        Emitted::Idle { stop_reason: stop_reason.clone(), stop_details: stop_details.clone() }
    } else {
        Emitted::Idle { stop_reason: StopReason::RequiresAction { event_ids: waiting }, stop_details: None }
    })
}
