//! A registry of images on loopback, with tokens if wanted, that can be made to lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use axum::Router;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use sha2::Digest;
use sha2::Sha256;

const TOKEN: &str = "a-token";

/// A registry that runs until this is dropped.
pub(super) struct Registry {
    pub(super) address: String,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    address: String,
    /// What has to be said for a token, in base64; nothing has to when there is none.
    password: Option<&'static str>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    blobs_sent: usize,
}

/// The digest of some bytes, as registries write it.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digits: Vec<String> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}

impl Registry {
    pub(super) fn start(password: Option<&'static str>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared { address: address.clone(), password, content: Mutex::default() });
        let router = Router::new()
            .route("/v2/", get(hello))
            .route("/token", get(token))
            .route("/v2/team/app/manifests/{name}", get(manifest))
            .route("/v2/team/app/blobs/{digest}", get(blob))
            .with_state(Arc::clone(&shared));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    pub(super) fn put_blob(&self, bytes: &[u8]) {
        self.shared.content().blobs.insert(digest(bytes), bytes.to_vec());
    }

    pub(super) fn put_manifest(&self, name: &str, kind: &str, bytes: &[u8]) {
        self.shared.content().manifests.insert(name.to_owned(), (kind.to_owned(), bytes.to_vec()));
    }

    /// Makes a blob another one of the same size.
    pub(super) fn spoil(&self, digest: &str) {
        let mut content = self.shared.content();
        let bytes = content.blobs.get_mut(digest).unwrap();
        let at = bytes.windows(6).position(|bytes| bytes == b"pulled").unwrap();
        bytes[at] = b'P';
    }

    pub(super) fn blobs_sent(&self) -> usize {
        self.shared.content().blobs_sent
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Shared {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// What is said to somebody without a token.
    fn challenge(&self, headers: &HeaderMap) -> Option<Response> {
        let said = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if self.password.is_none() || said == Some(&format!("Bearer {TOKEN}")) {
            return None;
        }
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.address);
        Some((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response())
    }
}

async fn hello(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.challenge(&headers).unwrap_or_else(|| StatusCode::OK.into_response())
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let said = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said.strip_prefix("Basic ") != shared.password {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    axum::Json(serde_json::json!({ "token": TOKEN })).into_response()
}

async fn manifest(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(challenge) = shared.challenge(&headers) {
        return challenge;
    }
    match shared.content().manifests.get(&name) {
        Some((kind, bytes)) => ([(CONTENT_TYPE, kind.clone())], bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn blob(State(shared): State<Arc<Shared>>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    if let Some(challenge) = shared.challenge(&headers) {
        return challenge;
    }
    let mut content = shared.content();
    content.blobs_sent += 1;
    match content.blobs.get(&digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
