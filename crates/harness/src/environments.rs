//! From the environment of a session to the sandbox that it is to have.

use std::sync::Arc;

use api::environments::SessionEnvironment;
use api::ids::SessionId;
use sandbox::Error;
use sandbox::Limits;
use sandbox::Root;
use sandbox::Spec;
use serde::Deserialize;
use serde::Serialize;

/// What is fixed when a session is made, beside its agent. Stored as JSON in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    pub(crate) environment: SessionEnvironment,
}

/// A session whose sandbox is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) session: SessionId,
    /// The session's key in the store.
    pub(crate) key: i64,
    pub(crate) environment: Arc<SessionEnvironment>,
}

/// What the operator gives every sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Environments {
    pub(crate) limits: Limits,
    pub(crate) root: Root,
}

impl Environments {
    /// The sandbox that a session is to have.
    pub(crate) async fn resolve(&self, wanted: &Wanted) -> Result<Spec, Error> {
        let Wanted { session, key: _, environment } = wanted;
        Ok(Spec {
            session: session.clone(),
            limits: self.limits,
            root: self.root.clone(),
            variables: environment.sandbox.variables.clone(),
        })
    }
}
