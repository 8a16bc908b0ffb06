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
use sandbox::Recall;
use sandbox::Report;
use sandbox::Root;
use sandbox::Sandbox;
use sandbox::Spec;
use serde_json::Value;
use tokio::sync::watch;

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
    async fn execute(&self, call: &Call) -> Result<Outcome, Error> {
        let input: Value = serde_json::from_str(call.input.get()).unwrap();
        let command = input["command"].as_str().unwrap().to_owned();
        let text = if command.contains("mkfifo") {
            self.seen.lock().unwrap().steps.push(command);
            self.started.send_modify(|started| *started += 1);
            "(no output)".to_owned()
        } else if command.contains("build-status:") {
            self.gate.subscribe().wait_for(|is_open| *is_open).await.unwrap();
            format!("build-status: {}", self.seen.lock().unwrap().status)
        } else if command.contains("tail -c") {
            self.seen.lock().unwrap().log.clone()
        } else if command.contains("sources.list") {
            self.seen.lock().unwrap().managers.clone()
        } else {
            "done".to_owned()
        };
        Ok(Outcome { content: vec![text_block(&text)], is_error: false })
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
