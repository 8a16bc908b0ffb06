//! A back end whose sandboxes build: every step ends as the test says, once the gate is open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use api::emitted::text_block;
use api::ids::EventId;
use api::ids::SessionId;
use async_trait::async_trait;
use sandbox::Adopted;
use sandbox::Backend;
use sandbox::Call;
use sandbox::Error;
use sandbox::LayerName;
use sandbox::Outcome;
use sandbox::Output;
use sandbox::Recall;
use sandbox::Report;
use sandbox::Root;
use sandbox::Sandbox;
use sandbox::Spec;
use sandbox::operation::Answer;
use sandbox::operation::Captured;
use sandbox::operation::End;
use sandbox::operation::Exited;
use sandbox::operation::FileKind;
use sandbox::operation::Metadata;
use sandbox::operation::Operation;
use sandbox::operation::Stream;
use tokio::sync::watch;

const FILE: Metadata = Metadata { kind: FileKind::File, bytes: 0, modified_micros: 0, mode: 0o700, inode: 1 };

#[derive(Clone)]
pub(crate) struct Works {
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// Steps do not end while it is shut.
    pub(crate) gate: watch::Sender<bool>,
    /// How many steps have been started.
    pub(crate) started: watch::Sender<usize>,
}

/// What happened, and what is to happen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Running sandboxes and what they stand on.
    pub(crate) alive: BTreeMap<SessionId, Spec>,
    /// Every sandbox that was made.
    pub(crate) made: Vec<Spec>,
    /// Scripts of steps, oldest first.
    pub(crate) steps: Vec<String>,
    /// Layers that are here.
    pub(crate) layers: Vec<LayerName>,
    /// Sessions whose files were removed.
    pub(crate) removed: Vec<SessionId>,
    /// Exit status of the next steps.
    pub(crate) status: i32,
    /// What the steps print.
    pub(crate) log: String,
    /// What package managers say of themselves.
    pub(crate) managers: String,
}

impl Default for Works {
    fn default() -> Self {
        Self { seen: Arc::default(), gate: watch::Sender::new(true), started: watch::Sender::new(0) }
    }
}

impl Works {
    /// The root file systems of the sandboxes of sessions, as opposed to those that were thrown away.
    pub(crate) fn root_of(&self, session: &SessionId) -> Root {
        self.seen.lock().unwrap().alive[session].root.clone()
    }

    pub(crate) async fn until_started(&self, steps: usize) {
        let mut started = self.started.subscribe();
        let reached = started.wait_for(|started| *started >= steps);
        tokio::time::timeout(std::time::Duration::from_secs(20), reached).await.unwrap().unwrap();
    }
}

#[async_trait]
impl Backend for Works {
    async fn provision(&self, spec: &Spec) -> Result<Arc<dyn Sandbox>, Error> {
        let mut seen = self.seen.lock().unwrap();
        if seen.alive.insert(spec.session.clone(), spec.clone()).is_none() {
            seen.made.push(spec.clone());
        }
        Ok(Arc::new(self.clone()))
    }

    fn find(&self, session: &SessionId) -> Option<Arc<dyn Sandbox>> {
        let is_alive = self.seen.lock().unwrap().alive.contains_key(session);
        is_alive.then(|| Arc::new(self.clone()) as Arc<dyn Sandbox>)
    }

    async fn adopt(&self, session: &SessionId) -> Result<Adopted, Error> {
        let is_alive = self.seen.lock().unwrap().alive.contains_key(session);
        let sandbox = is_alive.then(|| Arc::new(self.clone()) as Arc<dyn Sandbox>);
        Ok(Adopted { sandbox, sole_since: None })
    }

    async fn destroy(&self, session: &SessionId, keep_files: bool) -> Result<(), Error> {
        let mut seen = self.seen.lock().unwrap();
        seen.alive.remove(session);
        if !keep_files {
            seen.removed.push(session.clone());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SessionId>, Error> {
        Ok(self.seen.lock().unwrap().alive.keys().cloned().collect())
    }

    async fn commit(&self, session: &SessionId, layer: &LayerName) -> Result<(), Error> {
        let mut seen = self.seen.lock().unwrap();
        assert!(!seen.alive.contains_key(session), "its sandbox runs");
        seen.layers.push(layer.clone());
        Ok(())
    }

    async fn layers(&self) -> Result<Vec<LayerName>, Error> {
        Ok(self.seen.lock().unwrap().layers.clone())
    }

    async fn remove_layer(&self, layer: &LayerName) -> Result<(), Error> {
        self.seen.lock().unwrap().layers.retain(|other| other != layer);
        Ok(())
    }

    fn report(&self) -> Report {
        Report { mode: None, primitives: Vec::new() }
    }
}

#[async_trait]
impl Sandbox for Works {
    async fn execute(&self, _: &Call) -> Result<Outcome, Error> {
        Ok(Outcome { content: vec![text_block("done")], is_error: false })
    }

    async fn operate(
        &self,
        _: Option<&EventId>,
        operation: Operation,
        output: Option<Output>,
    ) -> Result<Answer, Error> {
        let exec = match operation {
            Operation::Exec(exec) => exec,
            Operation::WriteFile(write) => {
                self.seen.lock().unwrap().steps.push(String::from_utf8(write.content).unwrap());
                return Ok(Answer::Written(FILE));
            }
            Operation::ReadFile(_) | Operation::ListFiles(_) => panic!("builds do not read files"),
        };
        let mut printed = String::new();
        let mut end = End::Status(0);
        if let Some(output) = output {
            printed = self.seen.lock().unwrap().log.clone();
            output(Stream::Stdout, printed.as_bytes());
            self.started.send_modify(|started| *started += 1);
            self.gate.subscribe().wait_for(|is_open| *is_open).await.unwrap();
            end = End::Status(self.seen.lock().unwrap().status);
        } else if exec.arguments.concat().contains("sources.list") {
            printed.clone_from(&self.seen.lock().unwrap().managers);
        }
        let stdout = Captured { bytes_total: printed.len() as u64, tail: printed.into_bytes() };
        Ok(Answer::Exited(Exited { end, stdout, stderr: Captured::default() }))
    }

    async fn recall(&self, _: &EventId) -> Result<Recall, Error> {
        Ok(Recall::Unknown)
    }

    async fn acknowledge(&self, _: &[EventId]) -> Result<(), Error> {
        Ok(())
    }

    async fn cancel(&self, _: &EventId) -> Result<(), Error> {
        Ok(())
    }
}
