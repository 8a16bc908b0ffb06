//! A whole harness on a stage: a real store in memory, a real model client against a model server under the test's
//! control, and hands that record what they are told.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::Mutex;

use api::emitted::text_block;
use api::entry::Entry;
use api::environments::SessionEnvironment;
use api::ids::EventId;
use api::ids::Ids;
use api::ids::SessionId;
use api::ids::WorkspaceId;
use api::time::Clock;
use api::time::Timestamp;
use async_trait::async_trait;
use harness::Harness;
use harness::Life;
use harness::Parts;
use harness::Tasks;
use harness::brain::Policy;
use model::Models;
use sandbox::Adopted;
use sandbox::Backend;
use sandbox::Call;
use sandbox::LayerReader;
use sandbox::LayerWriter;
use sandbox::Outcome;
use sandbox::Output;
use sandbox::Place;
use sandbox::Recall;
use sandbox::Report;
use sandbox::Root;
use sandbox::Sandbox;
use sandbox::Spec;
use sandbox::operation::Answer;
use sandbox::operation::Operation;
use serde_json::Value;
use serde_json::json;
use store::Follower;
use store::SessionRecord;
use store::Signal;
use store::Store;
use store::Target;
use testkit::model_server::ModelServer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::yard::create;

/// What a stage may have otherwise than usual.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) clock: Clock,
    pub(crate) life: Life,
}

impl Default for Setting {
    fn default() -> Self {
        Self { clock: Clock::system(), life: Life::new("node") }
    }
}

pub(crate) struct Stage {
    pub(crate) harness: Harness,
    pub(crate) store: Store,
    pub(crate) model: ModelServer,
    pub(crate) hands: Arc<Hands>,
    pub(crate) workspace: WorkspaceId,
    ids: Ids,
    node: String,
    setting: Setting,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    pub(crate) async fn with(setting: Setting) -> Self {
        let store = Store::open(&Target::SqliteMemory, setting.clock.clone()).await.unwrap();
        let model = ModelServer::start().await;
        let hands = Arc::new(Hands::default());
        let ids = Ids::new(Clock::system());
        let harness = harness(&store, &model, &hands, &ids, "one", &setting);
        let workspace = ids.make();
        Self { harness, store, model, hands, workspace, ids, node: "one".to_owned(), setting }
    }

    /// Another server on the same store, with sandboxes and a model of its own.
    pub(crate) async fn another(&self, node: &str) -> Self {
        let (store, workspace, ids) = (self.store.clone(), self.workspace.clone(), self.ids.clone());
        let setting = Setting {
            clock: self.setting.clock.clone(),
            life: Life { node: node.to_owned(), ..self.setting.life.clone() },
        };
        let model = ModelServer::start().await;
        let hands = Arc::new(Hands::default());
        let harness = harness(&store, &model, &hands, &ids, node, &setting);
        Self { harness, store, model, hands, workspace, ids, node: node.to_owned(), setting }
    }

    /// The server process dies and another one starts on the same store and sandboxes.
    pub(crate) async fn restart(&mut self) {
        self.harness.shutdown().await;
        self.store.release_node(&self.node).await.unwrap();
        self.node.push('+');
        self.harness = harness(&self.store, &self.model, &self.hands, &self.ids, &self.node, &self.setting);
        self.harness.start();
    }

    pub(crate) async fn session(&self) -> SessionRecord {
        let create = create(&self.store, &self.ids, &self.workspace, &SessionEnvironment::default()).await;
        self.harness.create_session(self.workspace.clone(), create).await.unwrap()
    }

    pub(crate) async fn send(&self, session: &SessionRecord, events: Value) -> Vec<Value> {
        let body = json!({"events": events}).to_string();
        let events = api::events::parse_send(body.as_bytes()).unwrap();
        let session = self.row(session).await;
        let answers = self.harness.send(&session, events).await.unwrap();
        answers.iter().map(|answer| serde_json::from_str(answer).unwrap()).collect()
    }

    pub(crate) async fn say(&self, session: &SessionRecord, text: &str) {
        self.send(session, json!([{"type": "user.message", "content": [{"type": "text", "text": text}]}]))
            .await;
    }

    pub(crate) async fn row(&self, session: &SessionRecord) -> SessionRecord {
        self.store.session_by_key(session.key).await.unwrap().unwrap()
    }

    pub(crate) async fn log(&self, session: &SessionRecord) -> Vec<Arc<Entry>> {
        self.store.entries(session.key, 0, 1_000).await.unwrap()
    }

    pub(crate) async fn kinds(&self, session: &SessionRecord) -> Vec<String> {
        self.log(session).await.iter().map(|entry| entry.kind.to_string()).collect()
    }

    pub(crate) async fn events(&self, session: &SessionRecord, kind: &str) -> Vec<Value> {
        let log = self.log(session).await;
        let events =
            log.iter().filter(|entry| entry.kind.as_str() == kind).filter_map(|entry| entry.render());
        events.map(|event| serde_json::from_str(&event).unwrap()).collect()
    }

    /// Waits for an entry of this kind; what was there before counts too.
    pub(crate) async fn until(&self, session: &SessionRecord, kind: &str, count: usize) {
        let mut follower: Follower = self.store.follow(session.key);
        let waiting = async {
            while self.kinds(session).await.iter().filter(|seen| *seen == kind).count() < count {
                if matches!(follower.next().await, Signal::Closed) {
                    panic!("the store was closed");
                }
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(in_time.is_ok(), "no {count} of {kind} came; the log is {:?}", self.kinds(session).await);
    }
}

fn harness(
    store: &Store,
    model: &ModelServer,
    hands: &Arc<Hands>,
    ids: &Ids,
    node: &str,
    setting: &Setting,
) -> Harness {
    let config = json!({
        "providers": {"test": {"kind": "messages", "base_url": model.url(), "api_key": "k"}},
        "routes": [{"pattern": "*", "provider": "test"}],
        "prices": {},
    });
    Harness::new(Parts {
        store: store.clone(),
        models: Arc::new(Models::new(serde_json::from_value(config).unwrap()).unwrap()),
        hands: Arc::clone(hands) as Arc<dyn Backend>,
        clock: setting.clock.clone(),
        ids: ids.clone(),
        node: node.to_owned(),
        policy: Policy { retries_max: 2, backoff_base_ms: 1, backoff_max_ms: 1, ..Policy::default() },
        limits: sandbox::Limits::default(),
        root: Root::default(),
        surroundings: harness::Surroundings::default(),
        sandbox_idle_max_ms: 1_800_000,
        life: setting.life.clone(),
        crash: None,
    })
}

/// Sandboxes whose calls end when the test says so, and that outlive the server.
#[derive(Clone, Default)]
pub(crate) struct Hands {
    calls: Arc<Mutex<BTreeMap<EventId, Running>>>,
    /// Commands in the order in which they were started.
    started: watch::Sender<Vec<String>>,
    /// What the sandboxes can prove.
    pub(crate) sole_since: Arc<Mutex<Option<Timestamp>>>,
    /// While set, the back end does not stand by yet.
    pub(crate) is_starting: watch::Sender<bool>,
    /// Set once the harness has waited for it.
    pub(crate) is_awaited: watch::Sender<bool>,
    /// While set, calls do not reach the sandbox.
    pub(crate) is_out_of_reach: watch::Sender<bool>,
    /// Sessions whose sandboxes run.
    pub(crate) alive: Arc<Mutex<Vec<SessionId>>>,
    /// What sessions have written.
    pub(crate) files: Arc<Mutex<BTreeMap<SessionId, Vec<u8>>>>,
    /// Sandboxes that were frozen, put to rest, packed and unpacked, in this order.
    pub(crate) done: Arc<Mutex<Vec<&'static str>>>,
    /// While set, packing does not get beyond its first bytes.
    pub(crate) is_packing_slow: watch::Sender<bool>,
    /// How many may run, if not any number.
    pub(crate) alive_max: Arc<Mutex<Option<usize>>>,
}

type Result = Option<(String, bool)>;

struct Running {
    command: String,
    result: watch::Sender<Result>,
}

impl Hands {
    /// Commands that were started, oldest first.
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.borrow().clone()
    }

    pub(crate) async fn until_started(&self, count: usize) {
        let mut started = self.started.subscribe();
        started.wait_for(|started| started.len() >= count).await.unwrap();
    }

    pub(crate) fn finish(&self, command: &str, text: &str) {
        let calls = self.calls.lock().unwrap();
        let call = calls.values().find(|call| call.command == command).unwrap();
        call.result.send_replace(Some((text.to_owned(), false)));
    }

    fn result_of(&self, id: &EventId) -> Option<watch::Receiver<Result>> {
        self.calls.lock().unwrap().get(id).map(|call| call.result.subscribe())
    }
}

async fn outcome(mut result: watch::Receiver<Result>) -> Outcome {
    let (text, is_error) = result.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    Outcome { content: vec![text_block(&text)], is_error }
}

#[async_trait]
impl Backend for Hands {
    async fn provision(&self, spec: &Spec) -> std::result::Result<Arc<dyn Sandbox>, sandbox::Error> {
        self.is_out_of_reach.subscribe().wait_for(|is_out_of_reach| !is_out_of_reach).await.unwrap();
        let mut alive = self.alive.lock().unwrap();
        if !alive.contains(&spec.session) {
            if let Some(limit) = self.alive_max.lock().unwrap().filter(|limit| alive.len() >= *limit) {
                return Err(sandbox::Error::Full { limit });
            }
            alive.push(spec.session.clone());
        }
        self.files.lock().unwrap().entry(spec.session.clone()).or_default();
        Ok(Arc::new(self.clone()))
    }

    async fn stand_by(&self) -> std::result::Result<(), sandbox::Error> {
        self.is_awaited.send_replace(true);
        self.is_starting.subscribe().wait_for(|is_starting| !is_starting).await.unwrap();
        Ok(())
    }

    async fn adopt(&self, _session: &SessionId) -> std::result::Result<Adopted, sandbox::Error> {
        let sole_since = *self.sole_since.lock().unwrap();
        Ok(Adopted { sandbox: Some(Arc::new(self.clone())), sole_since })
    }

    async fn destroy(
        &self,
        session: &SessionId,
        keep_files: bool,
    ) -> std::result::Result<(), sandbox::Error> {
        if !keep_files {
            self.files.lock().unwrap().remove(session);
        }
        self.alive.lock().unwrap().retain(|other| other != session);
        Ok(())
    }

    async fn list(&self) -> std::result::Result<Vec<SessionId>, sandbox::Error> {
        Ok(self.alive.lock().unwrap().clone())
    }

    async fn freeze(&self, session: &SessionId) -> std::result::Result<bool, sandbox::Error> {
        self.done.lock().unwrap().push("freeze");
        Ok(self.alive.lock().unwrap().contains(session))
    }

    async fn kept(&self) -> std::result::Result<Vec<SessionId>, sandbox::Error> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    async fn pack(&self, session: &SessionId) -> std::result::Result<LayerReader, sandbox::Error> {
        assert!(!self.alive.lock().unwrap().contains(session), "its sandbox runs");
        self.done.lock().unwrap().push("pack");
        let files = self.files.lock().unwrap()[session].clone();
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let theirs = UnixStream::from_std(nonblocking(theirs)).unwrap();
        drop(Tasks::new().spawn("pack", packed(files, theirs, self.is_packing_slow.subscribe())));
        Ok(LayerReader::open(ours.into()).unwrap())
    }

    async fn unpack(&self, place: &Place) -> std::result::Result<LayerWriter, sandbox::Error> {
        let Place::Files { session, limits: _ } = place.clone() else { panic!("no layers here") };
        self.done.lock().unwrap().push("unpack");
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let theirs = UnixStream::from_std(nonblocking(theirs)).unwrap();
        drop(Tasks::new().spawn("unpack", unpacked(Arc::clone(&self.files), session, theirs)));
        Ok(LayerWriter::open(ours.into()).unwrap())
    }

    fn report(&self) -> Report {
        Report { mode: None, primitives: Vec::new() }
    }
}

#[async_trait]
impl Sandbox for Hands {
    async fn execute(&self, call: &Call) -> std::result::Result<Outcome, sandbox::Error> {
        let input: Value = serde_json::from_str(call.input.get()).unwrap();
        let command = input["command"].as_str().unwrap().to_owned();
        let result = {
            let mut calls = self.calls.lock().unwrap();
            assert!(!calls.contains_key(&call.id), "{command} was started twice");
            let (sender, receiver) = watch::channel(None);
            calls.insert(call.id.clone(), Running { command: command.clone(), result: sender });
            receiver
        };
        self.started.send_modify(|started| started.push(command));
        Ok(outcome(result).await)
    }

    async fn recall(&self, id: &EventId) -> std::result::Result<Recall, sandbox::Error> {
        match self.result_of(id) {
            Some(result) => Ok(Recall::Finished(outcome(result).await)),
            None => Ok(Recall::Unknown),
        }
    }

    async fn acknowledge(&self, _ids: &[EventId]) -> std::result::Result<(), sandbox::Error> {
        Ok(())
    }

    async fn operate(
        &self,
        _: Option<&EventId>,
        operation: Operation,
        _: Option<Output>,
    ) -> std::result::Result<Answer, sandbox::Error> {
        panic!("no turn performs {operation:?}")
    }

    async fn rest(&self) -> std::result::Result<(), sandbox::Error> {
        self.done.lock().unwrap().push("rest");
        Ok(())
    }

    async fn cancel(&self, id: &EventId) -> std::result::Result<(), sandbox::Error> {
        if let Some(call) = self.calls.lock().unwrap().get(id) {
            call.result.send_replace(Some(("stopped".to_owned(), true)));
        }
        Ok(())
    }
}

fn nonblocking(stream: StdUnixStream) -> StdUnixStream {
    stream.set_nonblocking(true).unwrap();
    stream
}

/// A worker that packs, in small pieces.
async fn packed(files: Vec<u8>, mut stream: UnixStream, mut is_slow: watch::Receiver<bool>) {
    let mut chunks: Vec<&[u8]> = files.chunks(3).collect();
    let end = br#"{"ok":{"entries":1,"bytes":1}}"#;
    chunks.extend([&b""[..], end]);
    for (number, chunk) in chunks.into_iter().enumerate() {
        if number > 0 {
            is_slow.wait_for(|is_slow| !is_slow).await.unwrap();
        }
        let length = u32::try_from(chunk.len()).unwrap().to_le_bytes();
        if stream.write_all(&length).await.is_err() || stream.write_all(chunk).await.is_err() {
            return;
        }
    }
}

/// A worker that unpacks: all at once at the end, or nothing.
async fn unpacked(
    files: Arc<Mutex<BTreeMap<SessionId, Vec<u8>>>>,
    session: SessionId,
    mut stream: UnixStream,
) {
    let mut all = Vec::new();
    loop {
        let Ok(length) = stream.read_u32_le().await else { return };
        let mut chunk = vec![0; length as usize];
        stream.read_exact(&mut chunk).await.unwrap();
        if chunk.is_empty() {
            break;
        }
        all.extend(chunk);
    }
    files.lock().unwrap().insert(session, all);
    let end = br#"{"ok":{"entries":1,"bytes":1}}"#;
    stream.write_all(&u32::try_from(end.len()).unwrap().to_le_bytes()).await.unwrap();
    stream.write_all(end).await.unwrap();
}
