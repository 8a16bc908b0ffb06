//! A model provider under the test's control: speaks the Messages API and chat completions over real HTTP, and can be
//! held, stalled or broken between any two bytes of its replies.
//!
//! Two ways to use it. [`ModelServer::start`] answers with the replies that a test queues with
//! [`ModelServer::push`], in order; a request too many is answered with a 500 that says so.
//! [`ModelServer::scripted`] asks a function for the reply to each request, which suits many sessions at once.
//!
//! The HTTP is spoken by hand, because the point is what other servers do not let a test do: close in the middle of a
//! chunk, wait at a byte, and notice that the client has gone.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use crate::model_server_connection as connection;
use crate::model_server_reply::Reply;
use crate::provider_rules::refusal;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Captured {
    /// `POST`, usually.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Bytes,
}

/// A function that answers requests.
pub type Script = dyn Fn(&Value) -> Reply + Send + Sync;

pub(crate) struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    script: Option<Box<Script>>,
    keeps_requests: bool,
    requests: watch::Sender<Vec<Captured>>,
    /// How many replies could not be finished because the client had gone.
    abandoned: watch::Sender<usize>,
    /// How many connections were accepted.
    connections: watch::Sender<usize>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Captured {
    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_default()
    }
}

impl ModelServer {
    /// A server on a free port of 127.0.0.1 that answers with queued replies.
    ///
    /// # Panics
    /// When no port of the loopback interface can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback always has a free port");
        Self::run(listener, None, true).expect("a bound listener knows its address")
    }

    /// A server on a free port of 127.0.0.1 that answers each request with what `script` says.
    ///
    /// # Panics
    /// When no port of the loopback interface can be had.
    pub async fn scripted(script: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback always has a free port");
        Self::run(listener, Some(Box::new(script)), true).expect("a bound listener knows its address")
    }

    /// As [`Self::scripted`], on an address of one's own and without keeping requests: for load.
    pub async fn listen(
        address: SocketAddr,
        script: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::run(TcpListener::bind(address).await?, Some(Box::new(script)), false)
    }

    fn run(listener: TcpListener, script: Option<Box<Script>>, keeps_requests: bool) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            replies: Mutex::default(),
            script,
            keeps_requests,
            requests: watch::Sender::default(),
            abandoned: watch::Sender::default(),
            connections: watch::Sender::default(),
        });
        #[expect(clippy::disallowed_methods, reason = "aborted when the server is dropped")]
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Queues a reply for the next request that has none.
    pub fn push(&self, reply: Reply) {
        self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Captured> {
        self.shared.requests.borrow().clone()
    }

    /// The request number `index`, counted from zero, as soon as it has come in.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn request(&self, index: usize) -> Captured {
        let mut requests = self.shared.requests.subscribe();
        let requests = requests.wait_for(|requests| requests.len() > index).await;
        requests.expect("the sender lives in self")[index].clone()
    }

    /// Waits until the client has walked away from `count` replies that were not finished.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn abandoned(&self, count: usize) {
        let mut abandoned = self.shared.abandoned.subscribe();
        drop(abandoned.wait_for(|seen| *seen >= count).await.expect("the sender lives in self"));
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Keeps the request and finds its reply.
    pub(crate) fn answer(&self, captured: Captured) -> Reply {
        let json = captured.json();
        if self.keeps_requests {
            let refused = refusal(&captured.path, &json);
            self.requests.send_modify(|requests| requests.push(captured));
            if let Some(why) = refused {
                return Reply::error(400, "invalid_request_error", &why);
            }
        }
        if let Some(script) = &self.script {
            return script(&json);
        }
        let queued = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        queued.unwrap_or_else(|| {
            Reply::error(500, "api_error", "the test has queued no reply for this request")
        })
    }

    pub(crate) fn count_abandoned(&self) {
        self.abandoned.send_modify(|count| *count += 1);
    }
}

/// Connections live as long as this task: dropping the set ends them.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.send_modify(|count| *count += 1);
        connections.spawn(connection::serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}
