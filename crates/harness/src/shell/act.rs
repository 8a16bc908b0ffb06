//! Runs tool calls in the session's sandbox.

use std::sync::Arc;

use api::emitted::text_block;
use api::ids::EventId;
use api::ids::SessionId;
use api::time::Timestamp;
use sandbox::Adopted;
use sandbox::Call;
use sandbox::Recall;
use tokio::task::AbortHandle;

use crate::Inner;
use crate::brain::Outcome;
use crate::crash;
use crate::environments::Wanted;
use crate::error::chain;
use crate::limits;
use crate::telemetry;

/// What the API says of a call that an interrupt closed.
const INTERRUPTED: &str = "Tool execution was interrupted before completion. Please retry.";

/// Runs a call, making the sandbox when there is none.
pub(crate) async fn run(inner: Arc<Inner>, wanted: Wanted, call: Call) -> Outcome {
    let crash = inner.parts.crash.as_ref();
    crash::point(crash, "before_tool");
    let id = call.id.clone();
    let measured = telemetry::Call::begin(&call.tool);
    let error;
    let outcome = match inner.hands.provision(&wanted).await {
        Ok((sandbox, held)) => match sandbox.execute(&call).await.map(|outcome| held.tell(outcome)) {
            Ok(sandbox::Outcome { content, is_error }) => {
                error = is_error.then_some("tool");
                Outcome::Finished { call: id, content, is_error }
            }
            Err(source) => {
                error = Some("sandbox");
                failed(&wanted.session, id, &source)
            }
        },
        Err(source) => {
            error = Some("no_sandbox");
            unprovided(&wanted.session, id, &source)
        }
    };
    measured.end(error);
    crash::point(crash, "after_tool");
    outcome
}

/// Makes the sandbox for a call that is about to come. When that fails, the call itself says so.
pub(crate) fn make_ahead(inner: &Arc<Inner>, wanted: Wanted) {
    let held = Arc::clone(inner);
    drop(inner.tasks.spawn("make a sandbox ahead", async move {
        drop(held.hands.provision(&wanted).await);
    }));
}

/// Waits until the back end can prove of the calls that are about to be written down that they were never begun. A call
/// that is wanted before its spawner has started is in doubt after a crash, although nobody can have begun it.
pub(crate) async fn stand_by(inner: &Inner) {
    let standing = tokio::time::timeout(limits::STAND_BY_MAX, inner.hands.backend.stand_by()).await;
    if !matches!(standing, Ok(Ok(()))) {
        tracing::debug!(
            "the back end of sandboxes does not stand by; calls that a crash meets now will be in doubt"
        );
    }
}

/// There is no sandbox to run the call in. Clients are told too: it is rarely the model who can do something about it.
fn unprovided(session: &SessionId, call: EventId, error: &sandbox::Error) -> Outcome {
    let reason = chain(error);
    tracing::warn!(session.id = %session, error = reason, "there is no sandbox for a tool call of session {session}");
    Outcome::Unprovided { call, reason }
}

/// The model is told what happened; it can go on without the sandbox or try again.
fn failed(session: &SessionId, call: EventId, error: &sandbox::Error) -> Outcome {
    let chain = chain(error);
    tracing::warn!(session.id = %session, error = chain, "a tool call of session {session} failed in the sandbox");
    let text = match error {
        sandbox::Error::Lost { .. } => {
            "The sandbox stopped while this call ran; whether the call took effect is unknown. The next call starts \
             a new sandbox with the same files."
                .to_owned()
        }
        sandbox::Error::Unavailable { .. }
        | sandbox::Error::Full { .. }
        | sandbox::Error::SetUp { .. }
        | sandbox::Error::TooLarge { .. }
        | sandbox::Error::Busy { .. }
        | sandbox::Error::Unsupported { .. }
        | sandbox::Error::Operation { .. }
        | sandbox::Error::Misanswered { .. }
        | sandbox::Error::Layer { .. }
        | sandbox::Error::Spawner { .. } => format!("The call was not run: {chain}."),
    };
    Outcome::Finished { call, content: vec![text_block(&text)], is_error: true }
}

/// What became of a call that a dead driver was to start. Waits while it runs.
///
/// A sandbox that does not know the call is no proof that it was never run: another one may have run it and died. It is
/// one when the session has had no other sandbox since the call was wanted.
pub(crate) async fn recall(
    inner: Arc<Inner>,
    session: SessionId,
    call: EventId,
    wanted_at: Timestamp,
) -> Outcome {
    let recalled = match recalled(&inner, &session, &call, wanted_at).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(session.id = %session, error, "recall a call of session {session} failed");
            Outcome::Unknown { call }
        }
    };
    if matches!(recalled, Outcome::Unknown { .. }) {
        telemetry::count_unknown_call();
    }
    recalled
}

async fn recalled(
    inner: &Inner,
    session: &SessionId,
    call: &EventId,
    wanted_at: Timestamp,
) -> Result<Outcome, sandbox::Error> {
    let Adopted { sandbox, sole_since } = inner.hands.backend.adopt(session).await?;
    let recall = match sandbox {
        Some(sandbox) => sandbox.recall(call).await?,
        None => Recall::Unknown,
    };
    let call = call.clone();
    Ok(match recall {
        Recall::Finished(sandbox::Outcome { content, is_error }) => {
            Outcome::Finished { call, content, is_error }
        }
        Recall::Unknown if sole_since.is_some_and(|since| since < wanted_at) => Outcome::Unstarted { call },
        Recall::Unknown => Outcome::Unknown { call },
    })
}

/// Ends a call. `run` is the task that waits for its result, if any does; the sandbox ends the processes, and what it
/// says of them is not waited for longer than the grace.
pub(crate) async fn cancel(
    inner: Arc<Inner>,
    session: SessionId,
    call: EventId,
    run: Option<AbortHandle>,
) -> Outcome {
    if let Some(run) = run {
        let stop = async {
            if let Ok(Adopted { sandbox: Some(sandbox), .. }) = inner.hands.backend.adopt(&session).await {
                drop(sandbox.cancel(&call).await);
                return sandbox.recall(&call).await.ok();
            }
            None
        };
        let stopped = tokio::time::timeout(limits::CANCEL_GRACE, stop).await;
        run.abort();
        if let Ok(Some(Recall::Finished(sandbox::Outcome { content, is_error }))) = stopped {
            return Outcome::Finished { call, content, is_error };
        }
    }
    Outcome::Finished { call, content: vec![text_block(INTERRUPTED)], is_error: true }
}

/// Lets the sandbox forget results. When this fails it keeps them a little longer, which harms nobody.
pub(crate) async fn acknowledge(inner: Arc<Inner>, session: SessionId, calls: Vec<EventId>) {
    if let Ok(Adopted { sandbox: Some(sandbox), .. }) = inner.hands.backend.adopt(&session).await {
        drop(sandbox.acknowledge(&calls).await);
    }
}
