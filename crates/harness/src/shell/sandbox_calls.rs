//! The performer of calls that run in the session's sandbox. It reports typed ends; the brain words them.

use std::sync::Arc;

use api::ids::EventId;
use api::ids::SessionId;
use api::time::Timestamp;
use sandbox::Adopted;
use sandbox::Call;
use sandbox::Recall;
use tokio::task::AbortHandle;

use crate::Inner;
use crate::brain::CallEnd;
use crate::brain::EffectDone;
use crate::crash;
use crate::environments::Wanted;
use crate::error::chain;
use crate::limits;
use crate::telemetry;

/// Runs a call, making the sandbox when there is none.
pub(crate) async fn start(inner: Arc<Inner>, wanted: Wanted, call: Call) -> EffectDone {
    let crash = inner.parts.crash.as_ref();
    crash::point(crash, "before_tool");
    let measured = telemetry::Call::begin(&call.tool);
    let end = match inner.hands.provision(&wanted).await {
        Ok((sandbox, held)) => match sandbox.execute(&call).await.map(|outcome| held.tell(outcome)) {
            Ok(sandbox::Outcome { content, is_error }) => CallEnd::Result { content, is_error },
            Err(error) => failed(&wanted.session, &error),
        },
        Err(error) => no_sandbox(&wanted.session, &error),
    };
    measured.end(cause(&end));
    crash::point(crash, "after_tool");
    EffectDone::Called { call: call.id, end }
}

/// The cause of a call that ended without a result, or `tool` when the tool itself says that it failed.
fn cause(end: &CallEnd) -> Option<&'static str> {
    match end {
        CallEnd::Result { is_error, .. } => is_error.then_some("tool"),
        CallEnd::NoSandbox { .. } => Some("no_sandbox"),
        CallEnd::Cancelled
        | CallEnd::Unknown
        | CallEnd::NeverStarted
        | CallEnd::SandboxLost
        | CallEnd::NotRun { .. } => Some("sandbox"),
    }
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
fn no_sandbox(session: &SessionId, error: &sandbox::Error) -> CallEnd {
    let reason = chain(error);
    tracing::warn!(session.id = %session, error = reason, "there is no sandbox for a tool call of session {session}");
    CallEnd::NoSandbox { reason }
}

fn failed(session: &SessionId, error: &sandbox::Error) -> CallEnd {
    let reason = chain(error);
    tracing::warn!(session.id = %session, error = reason, "a tool call of session {session} failed in the sandbox");
    match error {
        sandbox::Error::Lost { .. } => CallEnd::SandboxLost,
        sandbox::Error::Unavailable { .. }
        | sandbox::Error::Full { .. }
        | sandbox::Error::SetUp { .. }
        | sandbox::Error::TooLarge { .. }
        | sandbox::Error::Busy { .. }
        | sandbox::Error::Unsupported { .. }
        | sandbox::Error::Operation { .. }
        | sandbox::Error::Misanswered { .. }
        | sandbox::Error::Layer { .. }
        | sandbox::Error::Spawner { .. } => CallEnd::NotRun { reason },
    }
}

/// The fate of a call whose performer died. Waits while it runs.
///
/// A sandbox that does not know the call is no proof that it was never run: another one may have run it and died. It is
/// one when the session has had no other sandbox since the call was wanted.
pub(crate) async fn recover(
    inner: Arc<Inner>,
    session: SessionId,
    call: EventId,
    wanted_at: Timestamp,
) -> EffectDone {
    let end = recalled(&inner, &session, &call, wanted_at).await.unwrap_or_else(|error| {
        let error = chain(&error);
        tracing::warn!(session.id = %session, error, "recall a call of session {session} failed");
        CallEnd::Unknown
    });
    if matches!(end, CallEnd::Unknown) {
        telemetry::count_unknown_call();
    }
    EffectDone::Called { call, end }
}

async fn recalled(
    inner: &Inner,
    session: &SessionId,
    call: &EventId,
    wanted_at: Timestamp,
) -> Result<CallEnd, sandbox::Error> {
    let Adopted { sandbox, sole_since } = inner.hands.backend.adopt(session).await?;
    let recall = match sandbox {
        Some(sandbox) => sandbox.recall(call).await?,
        None => Recall::Unknown,
    };
    Ok(match recall {
        Recall::Finished(sandbox::Outcome { content, is_error }) => CallEnd::Result { content, is_error },
        Recall::Unknown if sole_since.is_some_and(|since| since < wanted_at) => CallEnd::NeverStarted,
        Recall::Unknown => CallEnd::Unknown,
    })
}

/// Ends a call. `run` is the task that waits for its result, if any does; the sandbox ends the processes, and what it
/// says of them is not waited for longer than the grace.
pub(crate) async fn cancel(
    inner: Arc<Inner>,
    session: SessionId,
    call: EventId,
    run: Option<AbortHandle>,
) -> EffectDone {
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
            return EffectDone::Called { call, end: CallEnd::Result { content, is_error } };
        }
    }
    EffectDone::Called { call, end: CallEnd::Cancelled }
}

/// Lets the sandbox forget results. When this fails it keeps them a little longer, which harms nobody.
pub(crate) async fn acknowledge(inner: Arc<Inner>, session: SessionId, calls: Vec<EventId>) {
    if let Ok(Adopted { sandbox: Some(sandbox), .. }) = inner.hands.backend.adopt(&session).await {
        drop(sandbox.acknowledge(&calls).await);
    }
}
