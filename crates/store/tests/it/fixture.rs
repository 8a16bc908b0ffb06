//! A store to test with, and the things one puts into it.

use std::sync::Arc;

use api::entry::NewEntry;
use api::entry::raw;
use api::event_kinds::EventKind;
use api::ids::EnvironmentId;
use api::ids::EventId;
use api::ids::Ids;
use api::ids::ThreadId;
use api::ids::WorkspaceId;
use api::sessions::SessionStatus;
use api::time::Clock;
use api::time::Timestamp;
use serde_json::json;
use store::Append;
use store::Claim;
use store::EnvironmentColumns;
use store::EnvironmentRecord;
use store::Fence;
use store::NewSession;
use store::Patch;
use store::SessionRecord;
use store::Store;
use store::Target;

pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    SqliteFile,
    SqliteMemory,
    Postgres,
}

/// A store of its own with one workspace and one environment.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) target: Target,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) workspace: WorkspaceId,
    pub(crate) environment: EnvironmentId,
    _folder: tempfile::TempDir,
}

impl World {
    /// `None` when the tests were told to do without PostgreSQL.
    pub(crate) async fn new(engine: Engine) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let target = match engine {
            Engine::SqliteFile => Target::Sqlite(folder.path().join("journeyman.db")),
            Engine::SqliteMemory => Target::SqliteMemory,
            Engine::Postgres => Target::Postgres(postgres_url()?),
        };
        let clock = Clock::manual(START);
        let store = Store::open(&target, clock.clone()).await.unwrap();
        let ids = Ids::new(Clock::system());
        let (workspace, environment) = (ids.make(), ids.make());
        let world = Self { store, target, clock, ids, workspace, environment, _folder: folder };
        world.store.insert(&world.environment_record(&world.environment)).await.unwrap();
        Some(world)
    }

    /// Another node on the same database, where the database allows it; else the same node again.
    pub(crate) async fn another_node(&self) -> Store {
        match self.target {
            Target::Postgres(_) => Store::open(&self.target, self.clock.clone()).await.unwrap(),
            Target::Sqlite(_) | Target::SqliteMemory => self.store.clone(),
        }
    }

    pub(crate) fn environment_record(&self, id: &EnvironmentId) -> EnvironmentRecord {
        let columns = EnvironmentColumns {
            name: "plain".to_owned(),
            body: json!({"id": id, "type": "environment"}).to_string(),
            sandbox: None,
        };
        EnvironmentRecord::new(id.clone(), self.workspace.clone(), self.clock.now(), columns)
    }

    pub(crate) fn session_record(&self) -> SessionRecord {
        let now = self.clock.now();
        SessionRecord {
            key: 0,
            id: self.ids.make(),
            workspace: self.workspace.clone(),
            agent_id: self.ids.make(),
            agent_version: 1,
            environment_id: self.environment.clone(),
            thread: self.ids.make(),
            status: SessionStatus::Idle,
            title: Some("a title".to_owned()),
            metadata: r#"{"a":"b"}"#.to_owned(),
            agent: r#"{"name":"snapshot"}"#.to_owned(),
            extra: r#"{"resources":[]}"#.to_owned(),
            progress: "{}".to_owned(),
            created_at: now,
            updated_at: now,
            archived_at: None,
            head: 0,
            epoch: 0,
            holder: None,
            runnable: false,
            waiting: Vec::new(),
        }
    }

    /// A stored, idle session without entries.
    pub(crate) async fn session(&self) -> SessionRecord {
        let new = NewSession { record: self.session_record(), entries: Vec::new(), claim: None };
        self.store.create_session(new).await.unwrap()
    }

    /// A stored session that `node` holds for a minute, and the epoch of its lease.
    pub(crate) async fn held_session(&self, node: &str) -> (SessionRecord, i64) {
        let new = NewSession { record: self.session_record(), entries: Vec::new(), claim: Some(claim(node)) };
        let session = self.store.create_session(new).await.unwrap();
        let epoch = session.epoch;
        (session, epoch)
    }

    pub(crate) async fn reload(&self, session: &SessionRecord) -> SessionRecord {
        self.store.session(&self.workspace, &session.id).await.unwrap().unwrap()
    }

    /// A client's event that waits to be processed.
    pub(crate) fn message(&self, thread: &ThreadId) -> NewEntry {
        let id: EventId = self.ids.make();
        NewEntry {
            public: Some(raw(&json!({"type": "user.message", "id": id}))),
            private: None,
            kind: EventKind::UserMessage,
            processed_at: None,
            ..self.note(thread, id)
        }
    }

    /// An event of the agent, processed as soon as it is there.
    pub(crate) fn answer(&self, thread: &ThreadId) -> NewEntry {
        let id: EventId = self.ids.make();
        NewEntry {
            public: Some(raw(&json!({"type": "agent.message", "id": id}))),
            private: Some(raw(&json!({"raw": [1, 2]}))),
            kind: EventKind::AgentMessage,
            processed_at: Some(self.clock.now()),
            ..self.note(thread, id)
        }
    }

    /// The internal entry that processes a client's event.
    pub(crate) fn processing(&self, thread: &ThreadId, event: &EventId) -> NewEntry {
        NewEntry { processes: Some(event.clone()), ..self.note(thread, self.ids.make()) }
    }

    fn note(&self, thread: &ThreadId, id: EventId) -> NewEntry {
        NewEntry {
            thread: thread.clone(),
            id,
            kind: EventKind::JournalInputProcessed,
            public: None,
            private: None,
            created_at: self.clock.now(),
            processed_at: Some(self.clock.now()),
            processes: None,
        }
    }
}

fn postgres_url() -> Option<String> {
    if std::env::var_os("JOURNEYMAN_TEST_NO_POSTGRES").is_some_and(|value| value == "1") {
        return None;
    }
    Some(testkit::postgres::database().expect("a PostgreSQL; JOURNEYMAN_TEST_NO_POSTGRES=1 does without"))
}

pub(crate) fn claim(node: &str) -> Claim {
    Claim { node: node.to_owned(), ttl_ms: 60_000 }
}

/// A claim that has expired as soon as it is made.
pub(crate) fn brief_claim(node: &str) -> Claim {
    Claim { node: node.to_owned(), ttl_ms: 0 }
}

pub(crate) fn by_client(session: &SessionRecord, entries: Vec<NewEntry>) -> Append {
    Append {
        session: session.key,
        fence: Fence::Client { claim: None, answers: Vec::new() },
        entries,
        patch: Patch::default(),
        jobs: Vec::new(),
        expected_head: None,
    }
}

pub(crate) fn by_holder(session: &SessionRecord, epoch: i64, entries: Vec<NewEntry>) -> Append {
    Append { fence: Fence::Lease { epoch }, ..by_client(session, entries) }
}

/// The whole log.
pub(crate) async fn read_log(store: &Store, session: &SessionRecord) -> Vec<Arc<api::entry::Entry>> {
    store.entries(session.key, 0, 10_000).await.unwrap()
}
