//! What the server grants a session: its policy, and the secrets that the proxy puts into its requests.
//!
//! The sandbox holds placeholders. A placeholder is replaced in the headers of requests over TLS to the hosts of its
//! secret, and nowhere else: not for other hosts, not without TLS, not in an address.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::policy::HostPattern;
use crate::policy::Hostname;
use crate::policy::Policy;

/// A text that is neither shown nor logged, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A placeholder, the secret that it stands for, and where it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Substitution {
    /// The text that the sandbox holds. Long and random, so that nothing else contains it.
    pub placeholder: String,
    /// The text that the host gets.
    pub secret: Secret,
    /// The hosts that get it, as far as the policy lets the session reach them.
    pub hosts: Vec<HostPattern>,
}

/// What a session may do on the network, as the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What it may reach.
    pub policy: Arc<Policy>,
    /// What is put into its requests. TLS to the hosts named here is terminated; all other TLS passes unseen.
    #[serde(default)]
    pub substitutions: Vec<Substitution>,
}

impl From<Arc<Policy>> for Grant {
    fn from(policy: Arc<Policy>) -> Self {
        Self { policy, substitutions: Vec::new() }
    }
}

impl From<Policy> for Grant {
    fn from(policy: Policy) -> Self {
        Arc::new(policy).into()
    }
}

impl Grant {
    /// Whether requests to a host may get secrets.
    pub(crate) fn substitutes_for(&self, name: &Hostname) -> bool {
        self.substitutions_for(name).next().is_some()
    }

    fn substitutions_for<'a>(&'a self, name: &'a Hostname) -> impl Iterator<Item = &'a Substitution> {
        let applies = |substitution: &&Substitution| {
            // An empty placeholder would be found everywhere.
            !substitution.placeholder.is_empty()
                && substitution.hosts.iter().any(|pattern| pattern.matches(name))
        };
        self.substitutions.iter().filter(applies)
    }

    /// Replaces the placeholders in the headers of a request to a host. A secret that no header can carry leaves its
    /// placeholder as it is.
    pub(crate) fn substitute(&self, name: &Hostname, headers: &mut HeaderMap) {
        for Substitution { placeholder, secret, hosts: _ } in self.substitutions_for(name) {
            for value in headers.values_mut() {
                let Some(text) =
                    replace(value.as_bytes(), placeholder.as_bytes(), secret.expose().as_bytes())
                else {
                    continue;
                };
                if let Ok(mut replaced) = HeaderValue::from_bytes(&text) {
                    replaced.set_sensitive(true);
                    *value = replaced;
                }
            }
        }
    }
}

/// `text` with every occurrence of `from` replaced; `None` when there is none.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut replaced = Zeroizing::new(Vec::new());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    if rest.len() == text.len() {
        return None;
    }
    replaced.extend_from_slice(rest);
    Some(replaced)
}
