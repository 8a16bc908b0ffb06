//! Authentication: a server key, looked up by its hash, stands for a workspace.
//!
//! A protected handler takes [`Caller`] or [`BetaCaller`] as an argument, so a route cannot forget it. Keys are remembered for a few
//! seconds, so that a request reads nothing but what it asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use api::ids::WorkspaceId;
use api::time::Timestamp;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::Digest;
use sha2::Sha256;

use crate::Server;
use crate::beta;
use crate::error::Failure;
use crate::limits::KEY_CACHED_MS_MAX;
use crate::limits::KEYS_CACHED_MAX;

/// Names the workspace: in a request a wish that must match, in an answer the fact.
pub(crate) const WORKSPACE: HeaderName = HeaderName::from_static("anthropic-workspace-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An authenticated request, with the server that answers it. For routes that are in no beta.
pub(crate) struct Caller {
    pub(crate) server: Arc<Server>,
    /// The tenant; every read and write is within it.
    pub(crate) workspace: WorkspaceId,
}

/// The same on a route of the managed-agents beta. Refuses a request that lacks the beta's header.
pub(crate) struct BetaCaller(pub(crate) Caller);

/// Where the extractors leave the workspace for the answer's header.
#[derive(Clone, Default)]
pub(crate) struct Resolved(pub(crate) Arc<OnceLock<WorkspaceId>>);

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Failure> {
        let workspace = authenticate(parts, server).await?;
        beta::check_names(&parts.headers)?;
        Ok(Self { server: Arc::clone(server), workspace })
    }
}

impl FromRequestParts<Arc<Server>> for BetaCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, server).await?;
        beta::check_managed_agents(&parts.headers)?;
        Ok(Self(caller))
    }
}

async fn authenticate(parts: &Parts, server: &Server) -> Result<WorkspaceId, Failure> {
    let key = presented(&parts.headers)?;
    let workspace = server.keys.workspace(server, key).await?;
    if let Some(wanted) = parts.headers.get(WORKSPACE)
        && wanted.as_bytes() != workspace.as_str().as_bytes()
    {
        return Err(Failure::forbidden(
            "anthropic-workspace-id: the API key does not belong to this workspace",
        ));
    }
    if let Some(Resolved(slot)) = parts.extensions.get() {
        slot.get_or_init(|| workspace.clone());
    }
    Ok(workspace)
}

/// The key in `x-api-key`, else in `Authorization: Bearer`.
fn presented(headers: &HeaderMap) -> Result<&[u8], Failure> {
    if let Some(key) = headers.get(API_KEY) {
        return Ok(key.as_bytes());
    }
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return Err(Failure::unauthenticated("x-api-key header is required"));
    };
    let (scheme, token) = authorization.as_bytes().split_at(authorization.len().min(7));
    if scheme.eq_ignore_ascii_case(b"bearer ") {
        return Ok(token.trim_ascii());
    }
    Err(Failure::unauthenticated("authorization: expected `Bearer` and an API key"))
}

/// Keys that were found in the store lately. Unknown keys are not kept: whoever guesses could fill the memory.
#[derive(Default)]
pub(crate) struct Keys(Mutex<HashMap<[u8; 32], Known>>);

struct Known {
    workspace: WorkspaceId,
    found_at: Timestamp,
}

impl Keys {
    async fn workspace(&self, server: &Server, key: &[u8]) -> Result<WorkspaceId, Failure> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let now = server.clock.now();
        if let Some(workspace) = self.remembered(&hash, now) {
            return Ok(workspace);
        }
        let record = server.store.find_key(&hash).await?.filter(|record| record.archived_at.is_none());
        let Some(record) = record else {
            return Err(Failure::unauthenticated("invalid x-api-key"));
        };
        self.remember(hash, Known { workspace: record.workspace.clone(), found_at: now });
        Ok(record.workspace)
    }

    fn remembered(&self, hash: &[u8; 32], now: Timestamp) -> Option<WorkspaceId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|known| is_fresh(known, now)).map(|known| known.workspace.clone())
    }

    fn remember(&self, hash: [u8; 32], key: Known) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEYS_CACHED_MAX {
            let now = key.found_at;
            known.retain(|_, known| is_fresh(known, now));
        }
        if known.len() < KEYS_CACHED_MAX {
            known.insert(hash, key);
        }
    }
}

fn is_fresh(known: &Known, now: Timestamp) -> bool {
    now.millis_since(known.found_at) < KEY_CACHED_MS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        std::iter::once((name, axum::http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_key_comes_in_either_header() {
        assert_eq!(presented(&with(API_KEY, "k")).unwrap(), b"k");
        assert_eq!(presented(&with(AUTHORIZATION, "Bearer k")).unwrap(), b"k");
        assert_eq!(presented(&with(AUTHORIZATION, "bearer  k")).unwrap(), b"k");
        assert!(presented(&with(AUTHORIZATION, "Basic k")).is_err());
        assert!(presented(&with(AUTHORIZATION, "B")).is_err());
        assert!(presented(&HeaderMap::new()).is_err());
    }

    #[test]
    fn the_memory_of_keys_has_a_bound_and_an_age() {
        let keys = Keys::default();
        let workspace = WorkspaceId::parse("wrkspc_a").unwrap();
        for n in 0..=KEYS_CACHED_MAX {
            let hash = Sha256::digest(n.to_le_bytes()).into();
            keys.remember(hash, Known { workspace: workspace.clone(), found_at: Timestamp(0) });
        }
        assert_eq!(keys.0.lock().unwrap().len(), KEYS_CACHED_MAX);
        let first: [u8; 32] = Sha256::digest(0_usize.to_le_bytes()).into();
        assert_eq!(keys.remembered(&first, Timestamp(0)), Some(workspace.clone()));
        let later = Timestamp(0).plus_millis(KEY_CACHED_MS_MAX);
        assert_eq!(keys.remembered(&first, later), None);
        keys.remember([7; 32], Known { workspace, found_at: later });
        assert_eq!(keys.0.lock().unwrap().len(), 1, "the old ones made room");
    }
}
