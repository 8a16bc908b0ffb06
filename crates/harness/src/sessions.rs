//! Sessions: how clients make, change and end them.

mod create;

use std::sync::Arc;

use api::body::Metadata;
use api::emitted::Emitted;
use api::entry::NewEntry;
use api::entry::raw;
use api::environments::SessionEnvironment;
use api::event_kinds::EventKind;
use api::ids::EventId;
use api::ids::SessionId;
use api::ids::ThreadId;
use api::sessions::SessionAgent;
use api::sessions::SessionChanges;
use api::sessions::SessionStatus;
use api::sessions::SessionUpdate;
use api::time::Timestamp;
use api::tools;
use api::tools::Tool;
use serde_json::value::RawValue;
use store::Append;
use store::Claim;
use store::Fence;
use store::Lease;
use store::Patch;
use store::SessionRecord;
use store::ThreadChange;
use store::ThreadRecord;

pub use self::create::sandbox_settings;
pub use self::create::snapshot;
use crate::Error;
use crate::Harness;
use crate::Parts;
use crate::brain::AgentSnapshot;
use crate::brain::RuntimeFacts;
use crate::brain::ToolEntry;
use crate::environments::Extra;
use crate::error::stored;
use crate::shell;

impl Harness {
    /// Changes title, metadata or the agent's tools. An update that changes nothing writes nothing.
    pub async fn update_session(
        &self,
        session: &SessionRecord,
        update: SessionUpdate,
    ) -> Result<SessionRecord, Error> {
        if session.status == SessionStatus::Terminated || session.archived_at.is_some() {
            return Err(Error::Ended { id: session.id.clone() });
        }
        let change = change(session, &update, &self.0.parts)?;
        let Some((event, facts, patch)) = change else {
            return Ok(session.clone());
        };
        if facts.is_some() && session.status != SessionStatus::Idle {
            return Err(Error::NotIdle { id: session.id.clone(), status: session.status });
        }
        let parts = &self.0.parts;
        let entry = entry(parts, &session.thread, &event, facts.map(|facts| raw(&facts)));
        let stored = self.append_for_client(session.key, vec![entry], patch).await;
        stored.map_err(|source| Error::of_session("update", &session.id, source))?;
        self.read(session).await
    }

    /// Ends a session for good. Refused while it runs.
    pub async fn archive_session(&self, session: &SessionRecord) -> Result<SessionRecord, Error> {
        if session.archived_at.is_some() {
            return Ok(session.clone());
        }
        let epoch = self.hold_idle("archive", session).await?;
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let agent_name = agent_of(session)?.name;
        let thread_ended =
            Emitted::ThreadTerminated { session_thread_id: session.thread.clone(), agent_name };
        let events = if session.status == SessionStatus::Terminated {
            vec![]
        } else {
            vec![thread_ended, Emitted::Terminated]
        };
        let entries = events.iter().map(|event| entry(parts, &session.thread, event, None));
        let threads = parts.store.threads(session.key).await;
        let threads = threads.map_err(|source| Error::of_session("archive", &session.id, source))?;
        let append = Append {
            session: session.key,
            fence: Fence::Lease { epoch },
            entries: entries.collect(),
            patch: Patch {
                status: Some(SessionStatus::Terminated),
                threads: threads.into_iter().map(|thread| ended(thread, now)).collect(),
                waiting: Some(Vec::new()),
                archived_at: Some(now),
                release: true,
                ..Patch::default()
            },
            jobs: Vec::new(),
            expected_head: None,
        };
        let ended = parts.store.append(append).await;
        ended.map_err(|source| Error::of_session("archive", &session.id, source))?;
        drop(self.0.resting.take(session.key));
        self.free_sandbox(session.id.clone(), session.key);
        self.read(session).await
    }

    /// Removes a session with everything that belongs to it. Refused while it runs.
    pub async fn delete_session(&self, session: &SessionRecord) -> Result<(), Error> {
        match self.0.parts.store.delete_session(&session.workspace, &session.id).await {
            Ok(()) => {
                drop(self.0.resting.take(session.key));
                self.free_sandbox(session.id.clone(), session.key);
                Ok(())
            }
            Err(store::Error::Running { .. }) => Err(running("delete", session)),
            Err(source) => Err(Error::of_session("delete", &session.id, source)),
        }
    }

    /// Takes the lease of a session that is at rest, so that nothing can start meanwhile.
    async fn hold_idle(&self, attempt: &'static str, session: &SessionRecord) -> Result<i64, Error> {
        let parts = &self.0.parts;
        if session.status.is_working() || session.runnable {
            return Err(running(attempt, session));
        }
        // Under a name of its own, so that a message that arrives now does not start a driver on this lease.
        let claim = Claim { node: format!("{}/{attempt}", parts.node), ..self.0.claim() };
        let lease = parts.store.claim(session.key, &claim).await;
        let lease = lease.map_err(|source| Error::of_session(attempt, &session.id, source))?;
        let Some(Lease { node: _, epoch }) = lease else {
            return Err(running(attempt, session));
        };
        let current = self.read(session).await?;
        if current.head == session.head {
            return Ok(epoch);
        }
        // Something arrived in between: the session is about to run. Let its driver have it.
        shell::wake(&self.0, session.key, Some(Lease { node: parts.node.clone(), epoch }));
        Err(running(attempt, &current))
    }

    async fn read(&self, session: &SessionRecord) -> Result<SessionRecord, Error> {
        let found = self.0.parts.store.session(&session.workspace, &session.id).await;
        let found = found.map_err(|source| Error::of_session("read", &session.id, source))?;
        found.ok_or_else(|| Error::not_found("session", &session.id))
    }

    /// In the background: the sandbox may take a moment to die, and the session's end does not depend on it.
    fn free_sandbox(&self, session: SessionId, key: i64) {
        let inner = Arc::clone(&self.0);
        drop(self.0.tasks.spawn("free a sandbox", async move {
            if let Err(error) = inner.hands.discard(&session, Some(key)).await {
                tracing::warn!(session.id = %session, error = %error, "free the sandbox of session {session} failed");
            }
        }));
    }
}

/// A thread of a session that is archived.
fn ended(thread: ThreadRecord, now: Timestamp) -> ThreadChange {
    let ThreadRecord { id, agent: _, status: _, progress, created_at: _, updated_at: _, archived_at: _ } =
        thread;
    ThreadChange { id, agent: None, status: SessionStatus::Terminated, progress, archived_at: Some(now) }
}

fn running(attempt: &'static str, session: &SessionRecord) -> Error {
    Error::Running { attempt, id: session.id.clone() }
}

/// An event that the server makes now.
fn entry(parts: &Parts, thread: &ThreadId, event: &Emitted, private: Option<Arc<RawValue>>) -> NewEntry {
    let id: EventId = parts.ids.make();
    let now = parts.clock.now();
    NewEntry {
        thread: thread.clone(),
        kind: event.kind(),
        public: Some(event.public(&id)),
        id,
        private,
        created_at: now,
        processed_at: Some(now),
        processes: None,
    }
}

/// The first entry of the log: what the brain must know of the session.
fn created(agent: &AgentSnapshot, thread: &ThreadId, id: EventId, now: Timestamp) -> NewEntry {
    NewEntry {
        thread: thread.clone(),
        id,
        kind: EventKind::JournalSessionCreated,
        public: None,
        private: Some(raw(agent)),
        created_at: now,
        processed_at: Some(now),
        processes: None,
    }
}

/// The agent as the loop needs it, with its tools resolved and what the model is told of its sandbox.
fn agent_snapshot(agent: &SessionAgent, environment: &SessionEnvironment, parts: &Parts) -> AgentSnapshot {
    let in_sandbox = tools::enabled_in_sandbox(&agent.tools).into_iter();
    let in_sandbox = in_sandbox.filter_map(|(name, policy)| ToolEntry::in_sandbox(name.as_str(), policy));
    let at_client = agent.tools.iter().filter_map(|tool| match tool {
        Tool::Custom(tool) => Some(ToolEntry::at_client(tool)),
        Tool::BuiltIn(_) | Tool::Mcp(_) => None,
    });
    AgentSnapshot {
        agent_name: agent.name.clone(),
        model: agent.model.id.clone(),
        speed: Some(agent.model.speed.as_str().to_owned()),
        effort: Some(agent.model.effort.as_str().to_owned()),
        system: agent.system.clone().unwrap_or_default(),
        tools: in_sandbox.chain(at_client).collect(),
        runtime: RuntimeFacts::of(environment, parts.surroundings.operator.is_off),
    }
}

/// What an update changes: the event that says so, the brain's new facts if they change, the row's new columns.
fn change(
    session: &SessionRecord,
    update: &SessionUpdate,
    parts: &Parts,
) -> Result<Option<(Emitted, Option<AgentSnapshot>, Patch)>, Error> {
    let metadata: Metadata = stored("session", &session.id, &session.metadata)?;
    let changes = update.changes(session.title.as_deref(), &metadata, &agent_of(session)?)?;
    if changes.is_empty() {
        return Ok(None);
    }
    let SessionChanges { title, metadata, agent } = changes;
    let event = Emitted::Updated {
        agent: agent.as_ref().map(raw),
        metadata: metadata.as_ref().filter(|metadata| !metadata.is_empty()).map(raw),
        title: title.clone().flatten(),
    };
    let patch = Patch {
        title,
        metadata: metadata.as_ref().map(|metadata| raw(metadata).get().to_owned()),
        agent: agent.as_ref().map(SessionAgent::render),
        ..Patch::default()
    };
    let Some(agent) = agent else { return Ok(Some((event, None, patch))) };
    let Extra { environment } = stored("session", &session.id, &session.extra)?;
    Ok(Some((event, Some(agent_snapshot(&agent, &environment, parts)), patch)))
}

fn agent_of(session: &SessionRecord) -> Result<SessionAgent, Error> {
    stored("session", &session.id, &session.agent)
}
