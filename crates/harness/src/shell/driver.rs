//! The driver of one session: write, perform, listen, until the session is at rest.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use api::emitted::RetryStatus;
use api::emitted::SessionError;
use api::emitted::SessionErrorKind;
use api::ids::EventId;
use api::ids::ThreadId;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::ask;
use super::journal::Journal;
use super::journal::Written;
use super::rested::Rested;
use super::sandbox_calls;
use crate::Inner;
use crate::brain;
use crate::brain::CallEnd;
use crate::brain::Decision;
use crate::brain::Effect;
use crate::brain::EffectDone;
use crate::brain::EffectId;
use crate::brain::State;
use crate::crash;
use crate::environments::Extra;
use crate::environments::Wanted;
use crate::limits;

/// An effect that ended, and how.
pub(crate) struct Report {
    effect: EffectId,
    thread: ThreadId,
    done: EffectDone,
}

struct Driver {
    inner: Arc<Inner>,
    journal: Journal,
    under_way: HashMap<EffectId, AbortHandle>,
    reporter: mpsc::Sender<Report>,
    /// Calls whose results are in the log and whose sandbox has not been told yet.
    finished: Vec<EventId>,
}

/// Everything under way ends with the driver: without a lease nobody may act.
impl Drop for Driver {
    fn drop(&mut self) {
        for (_, handle) in self.under_way.drain() {
            handle.abort();
        }
    }
}

/// Drives until the session is at rest. `must_park` ends the turn with an error instead of going on with it.
pub(crate) async fn drive(
    inner: Arc<Inner>,
    key: i64,
    epoch: i64,
    news: Arc<Notify>,
    must_park: bool,
) -> Result<(), store::Error> {
    crash::point(inner.parts.crash.as_ref(), "driver_started");
    let Some(rested) = find(&inner, key).await? else { return Ok(()) };
    let journal = Journal::open(Arc::clone(&inner), rested, epoch).await?;
    let (reporter, mut reports) = mpsc::channel(limits::REPORTS_MAX);
    let mut driver = Driver { inner, journal, under_way: HashMap::new(), reporter, finished: Vec::new() };
    if driver.journal.state.is_active() {
        driver.journal.resume();
    }
    if must_park {
        driver.park();
    }
    loop {
        let effects = driver.decide();
        if driver.journal.write().await? == Written::Released {
            driver.acknowledge();
            return Ok(());
        }
        driver.acknowledge();
        driver.perform(effects);
        tokio::select! {
            report = reports.recv() => {
                let report = report.expect("the driver itself holds a sender");
                driver.take(report);
                while let Ok(report) = reports.try_recv() {
                    driver.take(report);
                }
            }
            () = news.notified() => driver.journal.read_news().await?,
        }
    }
}

/// The session as it rested last, here or at the beginning of its log.
async fn find(inner: &Inner, key: i64) -> Result<Option<Rested>, store::Error> {
    if let Some(rested) = inner.resting.take(key) {
        return Ok(Some(rested));
    }
    let record = inner.parts.store.session_by_key(key).await?;
    let state = State::new(inner.parts.policy);
    Ok(record.map(|record| {
        let Extra { environment } = serde_json::from_str(&record.extra).unwrap_or_else(|error| {
            tracing::error!(session.id = %record.id, %error, "read what was fixed for session {} failed", record.id);
            Extra::default()
        });
        let environment = Arc::new(environment);
        Rested { key, session: record.id, thread: record.thread, environment, state, head: 0 }
    }))
}

impl Driver {
    /// Enters what the brain wants written until it wants nothing more, and answers what should be under way.
    fn decide(&mut self) -> Vec<Effect> {
        for _ in 0..limits::DECISIONS_MAX {
            match brain::decide(&self.journal.state) {
                Decision::Write(drafts) => drafts.into_iter().for_each(|draft| self.journal.enter(draft)),
                Decision::Perform(effects) => return effects,
            }
        }
        panic!("the brain went on deciding without anything to perform");
    }

    /// Starts what should be under way and is not; ends what is under way and should not be.
    fn perform(&mut self, effects: Vec<Effect>) {
        let wanted: HashSet<EffectId> = effects.iter().map(Effect::id).collect();
        self.under_way.retain(|running, handle| {
            let is_stale = matches!(running, EffectId::Wait(..)) && !wanted.contains(running);
            if is_stale {
                handle.abort();
            }
            !is_stale
        });
        for effect in effects {
            if !self.under_way.contains_key(&effect.id()) {
                self.start(effect);
            }
        }
    }

    fn start(&mut self, effect: Effect) {
        let inner = Arc::clone(&self.inner);
        let (id, session) = (effect.id(), self.journal.session.clone());
        match effect {
            Effect::Ask { thread, span, purpose } => {
                let request = brain::context(&self.journal.state, &thread, purpose);
                let asked = ask::ask(inner, self.journal.key, thread.clone(), span, request, self.wanted());
                self.spawn(id, thread, asked);
            }
            Effect::CancelAsk { thread, span } => {
                if let Some(handle) = self.under_way.remove(&EffectId::Ask(span.clone())) {
                    handle.abort();
                }
                self.spawn(id, thread, std::future::ready(EffectDone::Stopped { span }));
            }
            Effect::Start { thread, call, tool, input } => {
                let call = sandbox::Call { id: call, thread: thread.clone(), tool, input };
                self.spawn(id, thread, sandbox_calls::start(inner, self.wanted(), call));
            }
            Effect::Recover { thread, call, wanted_at } => {
                self.spawn(id, thread, sandbox_calls::recover(inner, session, call, wanted_at));
            }
            Effect::Cancel { thread, call } => {
                let started = self.under_way.remove(&EffectId::Start(call.clone()));
                let task = started.or_else(|| self.under_way.remove(&EffectId::Recover(call.clone())));
                self.spawn(id, thread, sandbox_calls::cancel(inner, session, call, task));
            }
            Effect::Wait { thread, until } => {
                let pause = until.millis_since(self.inner.parts.clock.now()).unsigned_abs();
                let pause = std::time::Duration::from_millis(pause);
                self.spawn(id, thread, async move {
                    tokio::time::sleep(pause).await;
                    EffectDone::Waited
                });
            }
        }
    }

    fn spawn(
        &mut self,
        effect: EffectId,
        thread: ThreadId,
        future: impl Future<Output = EffectDone> + Send + 'static,
    ) {
        let reporter = self.reporter.clone();
        let id = effect.clone();
        let task = self.inner.tasks.spawn("perform an effect", async move {
            let done = future.await;
            // Fails only when the driver is gone, and then nobody wants to know.
            drop(reporter.send(Report { effect, thread, done }).await);
        });
        self.under_way.insert(id, task.abort_handle());
    }

    fn take(&mut self, Report { effect, thread, done }: Report) {
        self.under_way.remove(&effect);
        if let EffectDone::Called { call, end: CallEnd::Result { .. } | CallEnd::Cancelled } = &done {
            self.finished.push(call.clone());
        }
        for draft in brain::observe(&self.journal.state, &thread, done) {
            self.journal.enter(draft);
        }
    }

    /// Lets the sandbox forget results that are durable.
    fn acknowledge(&mut self) {
        let calls = std::mem::take(&mut self.finished);
        if !calls.is_empty() {
            let inner = Arc::clone(&self.inner);
            crash::point(inner.parts.crash.as_ref(), "before_acknowledge");
            let session = self.journal.session.clone();
            drop(
                self.inner
                    .tasks
                    .spawn("acknowledge results", sandbox_calls::acknowledge(inner, session, calls)),
            );
        }
    }

    /// Gives a turn up whose driver keeps failing, so that one poisoned session does not spin for ever.
    fn park(&mut self) {
        let message = "the server failed repeatedly while it worked on this turn; see its log".to_owned();
        let error =
            SessionError { kind: SessionErrorKind::Unknown, message, retry_status: RetryStatus::Exhausted };
        for draft in brain::park(&self.journal.state, &error) {
            self.journal.enter(draft);
        }
    }

    fn wanted(&self) -> Wanted {
        let Journal { session, key, environment, .. } = &self.journal;
        Wanted { session: session.clone(), key: *key, environment: Arc::clone(environment) }
    }
}
